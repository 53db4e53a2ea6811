"""A fact as a message of Slack's: blocks, and the text that stands in for them in notifications.

What comes from repositories and containers goes into `rich_text` blocks, whose elements say what they are: the text of
a text element is text, whatever it looks like. In Slack's `mrkdwn`, a branch may be called `<!channel>` or `*x*`, and
would be read as that. See https://docs.slack.dev/reference/block-kit/blocks/rich-text-block
"""

from __future__ import annotations

from typing import Any

from branchline.notifiers.facts import Fact


def message(fact: Fact, mention: str = "") -> dict[str, Any]:
    """What `chat.postMessage` and incoming webhooks take. `mention` is the member id of whoever is to be told."""
    first = [_text(fact.branch, bold=True), _text(f" {fact.said}")]
    if fact.url or fact.reason:
        first += [_text(": "), _link(fact.url) if fact.url else _text(fact.reason)]
    if mention:
        first += [_text(" "), {"type": "user", "user_id": mention}]
    last = [_text(fact.context)] if fact.context else []
    if fact.logs:
        last += [*([_text(" · ")] if last else []), _link(fact.logs, "log")]
    printed = "\n".join(fact.lines)
    if printed.strip():
        # A code block ends its line by itself.
        parts = [_section(first), {"type": "rich_text_preformatted", "elements": [_text(printed)]}]
        parts += [_section(last)] if last else []
    else:
        parts = [_section([*first, *([_text("\n"), *last] if last else [])])]
    return {
        "text": escaped(fact.headline),
        "mrkdwn": False,
        "blocks": [{"type": "rich_text", "elements": parts}],
        # Slack would ask the environment for a preview, and so wake it.
        "unfurl_links": False,
        "unfurl_media": False,
    }


def escaped(text: str) -> str:
    """The text with the three characters escaped that Slack reads as its own.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(elements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": elements}


def _text(text: str, *, bold: bool = False) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"style": {"bold": True}} if bold else {})}


def _link(url: str, text: str = "") -> dict[str, Any]:
    return {"type": "link", "url": url, **({"text": text} if text else {})}
