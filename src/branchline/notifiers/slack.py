"""Slack: a message when a branch is live, failed to deploy, or is removed. It runs in the Lambda, too.

With an incoming webhook, each message stands in the channel by itself. With a bot's token, a branch's messages are one
thread, whose first message is kept as a bookmark. A reply is hidden in its thread, so good and bad news are shown in
the channel, too; that a branch is gone is not.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.slack.dev/reference/methods/chat.postMessage
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from branchline import web
from branchline.errors import BranchlineError, ConfigurationError
from branchline.events import Event, Removed
from branchline.notifiers.facts import Fact, worth_telling
from branchline.notifiers.slack_messages import message

if TYPE_CHECKING:  # they need more than the Lambda has
    from branchline.environment import EnvironmentId
    from branchline.telling import About, Bookmarks

_THREAD = "slack-thread"
"""The bookmark: the channel, a space, and the first message's `ts`."""
_NO_THREAD = frozenset(
    {"thread_not_found", "message_not_found", "invalid_thread_ts", "cannot_reply_to_message", "thread_locked"}
)
"""Slack's errors for a thread that can't be replied to, such as one whose first message was deleted."""
_WEBHOOK_ERRORS = (400, 403, 404, 410)
"""Statuses with a word that says why, as plain text."""
_CODE = re.compile(r"[a-z][a-z_]{2,60}")
_MEMBER = re.compile(r"[UW][A-Z0-9]{2,30}")
"""A member id: https://docs.slack.dev/reference/objects/user-object"""

_NO_TOKEN = "the token is not valid", "make a new one, and set slack.token"
_NO_WEBHOOK = "there is no such webhook", "make a new one, and set slack.webhook"
_NO_CHANNEL = "the bot knows no such channel", "give slack.channel the channel's id, and invite the bot to it"
_NO_MEMBER = "the bot is not in the channel", "invite it there: /invite and its name"
_ARCHIVED = "the channel is archived", "choose another one"
_NOT_ALLOWED = "the workspace doesn't allow it", "ask whoever administers it"
_OURS = "it doesn't take the message's form", "a defect: please report it"
_ERRORS = {
    "account_inactive": _NO_TOKEN,
    "invalid_auth": _NO_TOKEN,
    "not_authed": _NO_TOKEN,
    "token_expired": _NO_TOKEN,
    "token_revoked": _NO_TOKEN,
    "missing_scope": ("the token lacks the scope chat:write", "add it to the app, and install the app again"),
    "channel_not_found": _NO_CHANNEL,
    "not_in_channel": _NO_MEMBER,
    "is_archived": _ARCHIVED,
    "channel_is_archived": _ARCHIVED,
    "action_prohibited": _NOT_ALLOWED,
    "restricted_action": _NOT_ALLOWED,
    "invalid_token": _NO_WEBHOOK,
    "no_active_hooks": _NO_WEBHOOK,
    "no_service": _NO_WEBHOOK,
    "no_team": _NO_WEBHOOK,
    "invalid_blocks": _OURS,
    "invalid_blocks_format": _OURS,
    "invalid_payload": _OURS,
    "msg_too_long": _OURS,
}
"""What Slack's words for the common errors mean, and what to do."""


@dataclass(frozen=True, slots=True)
class Slack:
    """Tells a channel. The fields are the table `slack` of the operator's settings.

    Raises:
        ConfigurationError: there is no way to send anything by these.
    """

    webhook: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """Wins over the webhook."""
    channel: str = ""
    people: Mapping[str, str] = field(default_factory=dict[str, str])
    """Member ids by e-mail address, whose case doesn't matter."""
    api: str = "https://slack.com/api"
    bookmarks: Bookmarks | None = None
    """Where threads are kept. Without, each message stands by itself."""

    def __post_init__(self) -> None:
        if self.token and not self.channel:
            raise ConfigurationError(
                "slack.token is set, but not slack.channel", remedy="set slack.channel to the id of the bot's channel"
            )
        if not self.token and not self.webhook:
            raise ConfigurationError(
                "slack has neither a token nor a webhook", remedy="set slack.webhook, or slack.token and slack.channel"
            )
        if not self.token and not re.match("https?://[^/]", self.webhook):
            raise ConfigurationError(  # not quoted, as it is a secret
                "slack.webhook is no URL",
                remedy="copy all of it, such as https://hooks.slack.com/services/T00/B00/xxxx",
            )
        for member in self.people.values():
            if not _MEMBER.fullmatch(member):
                raise ConfigurationError(
                    f"{member!r} in slack.people is no member id",
                    remedy="copy it from the person's profile in Slack; it starts with U or W",
                )

    @property
    def name(self) -> str:
        """See `telling.Notifier.name`."""
        return "slack"

    def hear(self, event: Event, about: About) -> None:
        """See `telling.Notifier.hear`."""
        fact = worth_telling(event, about)
        try:
            if fact is not None and self.token:
                self._post(event.environment, fact)
            elif fact is not None:
                self._send(fact)
        finally:
            if isinstance(event, Removed) and self.token and self.bookmarks is not None:
                self.bookmarks.forget(event.environment)

    def _message(self, fact: Fact) -> dict[str, Any]:
        people = {email.lower(): member for email, member in self.people.items()}
        return message(fact, people.get(fact.email.lower(), ""))

    def _send(self, fact: Fact) -> None:
        """By the webhook."""
        answer = web.ask("POST", self.webhook, data=self._message(fact), accept=_WEBHOOK_ERRORS)
        if answer.status in _WEBHOOK_ERRORS:
            parts = urlsplit(self.webhook)
            code = answer.body[:100].decode("utf-8", "replace").strip()
            where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
            raise _refusal(f"{where} answers {answer.status}", code)

    def _post(self, environment: EnvironmentId, fact: Fact) -> None:
        """As the bot, into the branch's thread."""
        new = self._message(fact) | {"channel": self.channel}
        thread = self._thread(environment)
        if thread:
            reply = {"thread_ts": thread, "reply_broadcast": fact.kind != "removed"}
            answer = self._call(new | reply)
            if answer.get("error") in _NO_THREAD:
                thread, answer = "", self._call(new)
        else:
            answer = self._call(new)
        if answer.get("ok") is not True:
            raise _refusal("Slack refuses", str(answer.get("error", "")))
        # Slack answers a reply to a message that is just being deleted with a message outside of any thread.
        sent: object = answer.get("message")
        if thread and isinstance(sent, dict) and "thread_ts" not in sent:
            thread = ""
        if not thread and self.bookmarks is not None:
            self.bookmarks.write(environment, _THREAD, f"{self.channel} {answer.get('ts', '')}")

    def _call(self, data: dict[str, Any]) -> dict[str, Any]:
        """`chat.postMessage`, whose answer says whether it worked."""
        url = f"{self.api.rstrip('/')}/chat.postMessage"
        said: object = web.ask("POST", url, headers={"authorization": f"Bearer {self.token}"}, data=data).json()
        return cast("dict[str, Any]", said) if isinstance(said, dict) else {}

    def _thread(self, environment: EnvironmentId) -> str:
        """The first message of the branch's thread; empty where there is none in this channel."""
        kept = self.bookmarks.read(environment, _THREAD) if self.bookmarks is not None else ""
        channel, _, first = kept.partition(" ")
        return first if channel == self.channel else ""


def _refusal(who: str, code: str) -> BranchlineError:
    """The error that Slack's word for it means; what is no such word isn't shown."""
    if not _CODE.fullmatch(code):
        return BranchlineError(who, remedy="check the address")
    words, remedy = _ERRORS.get(code, ("", ""))
    return BranchlineError(f"{who}: {code}{f', {words}' if words else ''}", remedy=remedy)
