"""What is worth telling people, in words. How that looks is each service's own affair.

There are three such facts: a branch is live, its deploy failed, and it is removed. Each is told once: a deploy that
changes nothing, a redeploy that goes well and a failure that is known already are no news.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from branchline import labels
from branchline.events import Event, Failed, Ready, Removed
from branchline.printable import printable

if TYPE_CHECKING:
    from branchline.telling import About

_BRANCH, _REASON, _TITLE, _AUTHOR, _LINE = 120, 500, 100, 60, 300
"""Characters of each. A branch's name may have hundreds, a container's line thousands."""
_LINES, _OF_LINES = 20, 2500
"""How many of the last lines are shown, and how many characters they may have together."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to tell. All its text is for reading: one line each, without control characters, and not too long."""

    kind: Literal["live", "failed", "removed"]
    branch: str
    said: str
    """What became of the branch, such as `is live`."""
    url: str = ""
    """The environment's, where it is live."""
    reason: str = ""
    """Why, where it failed or is removed; maybe empty."""
    lines: tuple[str, ...] = ()
    """The last ones that were printed, where it failed."""
    context: str = ""
    """Project, commit, author, and how long it took, as far as they are known."""
    logs: str = ""
    """The URL of whatever shows more."""
    email: str = ""
    """The commit's author's."""

    @property
    def headline(self) -> str:
        """The fact in one line."""
        return ": ".join(part for part in (f"{self.branch} {self.said}", self.url or self.reason) if part)


def worth_telling(event: Event, about: About) -> Fact | None:
    """The fact that the event is, or None where it is none."""
    match event:
        case Ready(first=True, unchanged=False):
            return Fact(
                "live",
                _branch(event),
                "is live",
                url=event.url,
                context=_context(event, event.commit, about, duration(event.seconds.get("total"))),
                logs=_link(about.logs),
            )
        case Failed(repeated=False):
            return Fact(
                "failed",
                _branch(event),
                "failed to deploy",
                reason=shortened(event.reason, _REASON),
                lines=_last(event.details),
                context=_context(event, event.commit, about),
                logs=_link(about.logs),
                email=about.email,
            )
        case Removed(resources=(_, *_)):
            return Fact(
                "removed",
                _branch(event),
                "is removed",
                reason=shortened(event.why, _REASON),
                context=_context(event, about.commit, about),
                logs=_link(about.logs),
            )
        case _:
            return None


def shortened(text: str, length: int) -> str:
    """The text in one line of at most `length` characters, the last an ellipsis where something was cut off."""
    line = " ".join(printable(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def duration(seconds: float | None) -> str:
    """Seconds for people; empty for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _branch(event: Event) -> str:
    """Its slug where its name is made of nothing but spaces, of which Unicode has many and git allows most."""
    return shortened(labels.branch_value(event.environment.branch), _BRANCH) or event.environment.slug


def _context(event: Event, commit: str, about: About, took: str = "") -> str:
    what = " ".join(part for part in (commit[:12], shortened(about.title, _TITLE)) if part)
    parts = (event.environment.project, what, shortened(about.author, _AUTHOR), took)
    return " · ".join(part for part in parts if part)


def _link(url: str) -> str:
    """The URL, or '' for what can't be one: a service would refuse the whole message for it."""
    return url if url.startswith(("https://", "http://")) and url.isprintable() and " " not in url else ""


def _last(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The last lines for which there is room, after an ellipsis where there are more."""
    kept: list[str] = []
    room = _OF_LINES
    for line in reversed(lines):
        shown = printable(line).rstrip()
        shown = shown if len(shown) <= _LINE else f"{shown[: _LINE - 1]}…"
        room -= len(shown) + 1
        if room < 0 or len(kept) == _LINES:
            kept.append("…")
            break
        kept.append(shown)
    return tuple(reversed(kept))
