"""What the router answers itself: one small page for each reason why there is no environment to show.

A browser gets a page, any other client a line of plain text. Caddy fills the placeholders in at each request: `{…}` in
plain text, and `{{placeholder "…" | html}}` in pages, which escapes what a visitor or a branch name put there.
Placeholders in the values themselves are not filled in (`config` escapes their braces).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RETRY_AFTER = 2
"""Seconds after which a client is asked to try again."""

NOINDEX = {"X-Robots-Tag": ["noindex"]}
"""Previews are not for search engines, and nor are their errors."""

_HOST = "http.request.host"
_BRANCH = "branchline.branch"
_PROJECT = "branchline.project"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. `text` and `remedy` may hold the placeholders `{host}`, `{branch}` and `{project}`."""

    status: str
    title: str
    text: str
    remedy: str
    command: str = ""
    retry: bool = False
    """Whether it is worth trying again soon; a browser does so by itself."""


UNKNOWN = Page(
    status="404",
    title="No environment here",
    text="{host} is not the address of an environment.",
    remedy="Its branch may have been deleted, or not deployed yet. See which environments there are:",
    command="branchline list",
)
BUILDING = Page(
    status="503",
    title="Being built",
    text="Branch {branch} of {project} is being built.",
    remedy="This page shows it as soon as it is there.",
    retry=True,
)
STARTING = Page(
    status="503",
    title="Starting",
    text="Branch {branch} of {project} is built and is starting.",
    remedy="This page shows it as soon as it is there.",
    retry=True,
)
FAILED = Page(
    status="503",
    title="The last deploy failed",
    text="Branch {branch} of {project} has no release that works.",
    remedy="See what went wrong:",
    command="branchline show {branch}",
)
SLEEPING = Page(
    status="503",
    title="Asleep",
    text="Branch {branch} of {project} was stopped to save memory.",
    remedy="Wake it:",
    command="branchline wake {branch}",
)
UNREACHABLE = Page(
    status="{http.error.status_code}",
    title="Not answering",
    text="Branch {branch} of {project} does not answer. It may have crashed and be restarting.",
    remedy="See what it printed:",
    command="branchline logs {branch}",
    retry=True,
)

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--ground:#f4f6f8;--card:#fff;--line:#dfe4ea;--mark:#2f7d5b}
@media(prefers-color-scheme:dark){
:root{--ink:#e8ecf1;--soft:#9aa6b5;--ground:#12161c;--card:#1b2129;--line:#2d3641;--mark:#5fc496}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);
color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:34rem;padding:2rem;background:var(--card);border:1px solid var(--line);
border-top:4px solid var(--mark);border-radius:.6rem;overflow-wrap:anywhere}
h1{margin:0 0 .6rem;font-size:1.5rem;line-height:1.25}
p{margin:.6rem 0}
.soft{color:var(--soft)}
code{display:inline-block;padding:.3rem .6rem;border:1px solid var(--line);border-radius:.35rem;
background:var(--ground);font:.95rem ui-monospace,monospace}
footer{margin-top:1.6rem;font-size:.85rem;color:var(--soft)}
"""


def _html_value(placeholder: str) -> str:
    return f'{{{{placeholder "{placeholder}" | html}}}}'


def _filled(text: str, host: str, branch: str, project: str) -> str:
    return text.replace("{host}", host).replace("{branch}", branch).replace("{project}", project)


def _html(page: Page) -> str:
    def filled(text: str) -> str:
        return _filled(text, _html_value(_HOST), _html_value(_BRANCH), _html_value(_PROJECT))

    refresh = f'<meta http-equiv="refresh" content="{RETRY_AFTER}">\n' if page.retry else ""
    command = f"<p><code>{filled(page.command)}</code></p>\n" if page.command else ""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta name="robots" content="noindex">\n{refresh}'
        f"<title>{page.title}</title>\n<style>{_STYLE}</style>\n"
        f"<main>\n<h1>{page.title}</h1>\n<p>{filled(page.text)}</p>\n"
        f'<p class="soft">{filled(page.remedy)}</p>\n{command}'
        f"<footer>{_html_value(_HOST)} &middot; Branchline</footer>\n</main>\n</html>\n"
    )


def _plain(page: Page) -> str:
    lines = f"{page.title}: {page.text}\n{page.remedy} {page.command}".rstrip()
    return _filled(lines, f"{{{_HOST}}}", f"{{{_BRANCH}}}", f"{{{_PROJECT}}}") + "\n"


def _answer(page: Page, content_type: str, body: str) -> dict[str, object]:
    headers = {
        **NOINDEX,
        "Content-Type": [f"{content_type}; charset=utf-8"],
        "Cache-Control": ["no-store"],
        "Vary": ["Accept"],
        "X-Content-Type-Options": ["nosniff"],
    }
    # Also for what isn't worth a visitor's retry: a monitor or a crawler may try a 503 again, but not at once.
    if page.status != "404":
        headers["Retry-After"] = [str(RETRY_AFTER)]
    return {"handler": "static_response", "status_code": page.status, "headers": headers, "body": body}


def routes(page: Page, matcher: Mapping[str, object] | None = None) -> Sequence[dict[str, object]]:
    """The Caddy routes that answer with the page, to requests that `matcher` selects; None selects all."""
    selected = matcher or {}
    return [
        {
            "match": [{**selected, "header": {"Accept": ["*text/html*"]}}],
            "handle": [{"handler": "templates", "mime_types": ["text/html"]}, _answer(page, "text/html", _html(page))],
            "terminal": True,
        },
        {
            **({"match": [selected]} if selected else {}),
            "handle": [_answer(page, "text/plain", _plain(page))],
            "terminal": True,
        },
    ]
