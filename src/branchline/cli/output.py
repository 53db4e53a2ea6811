"""What commands print: the documented JSON shapes, and text for people.

Names, reasons and output come from repositories and containers, so all text goes through `paint`, `hang` or `table`,
which let no control character of theirs reach the terminal. Colours are few, and none that a light or a dark background
swallows.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import click

from branchline import labels
from branchline.environment import Environment, Release, State
from branchline.printable import printable

JSON = dict[str, Any]

Sign = Literal["ok", "failure", "warning", "remedy"]
_SIGNS: dict[Sign, tuple[str, str]] = {
    "ok": ("✓", "ok"),
    "failure": ("✗", "x"),
    "warning": ("!", "!"),
    "remedy": ("→", "->"),
}
"""Each in Unicode, and where the encoding has nothing but ASCII."""
SIGN_COLOURS: dict[Sign, str] = {"ok": "green", "failure": "red", "warning": "yellow"}
STATE_STYLES: dict[str, JSON] = {
    State.READY: {"fg": "green"},
    State.FAILED: {"fg": "red"},
    State.SLEEPING: {"dim": True},
}
_NARROWEST = 20
"""Columns that wrapped text takes at least, however narrow the terminal is."""
_USUAL_BRANCH, _LONG_BRANCH, _SHORTEST_BRANCH, _INDENT = 24, 40, 12, 2
"""Columns for branches where not all fits: what they get before the URLs get any, what they get at most, what is worth
having, and what is left otherwise."""


# For programs


def print_json(value: JSON | list[JSON]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def environment_json(environment: Environment) -> JSON:
    """An environment as `list`, `show` and `deploy` give it; docs/reference/json.md documents each key."""
    return {
        "platform": environment.id.platform,
        "project": environment.id.project,
        "branch": labels.branch_value(environment.id.branch),
        "slug": environment.id.slug,
        "url": environment.url,
        "host": environment.host,
        "commit": environment.commit,
        "state": environment.state.value,
        "reason": environment.reason or None,
        "created": environment.created.isoformat(),
        "expires": environment.expires.isoformat() if environment.expires else None,
        "repository": environment.repository or None,
        "memory": environment.memory,
        "release": _release_json(environment.release),
        "previous": _release_json(environment.previous),
        "pending": _release_json(environment.pending),
        "failed": _release_json(environment.failed),
    }


def _release_json(release: Release | None) -> JSON | None:
    if release is None:
        return None
    return {
        "number": release.number,
        "commit": release.commit,
        "image": release.image or None,
        "created": release.created.isoformat(),
        "failure": release.failure or None,
    }


# Words for people


def age(since: datetime, now: datetime | None = None) -> str:
    """How long ago, in one unit that is short to read: 45s, 12m, 5h, 3d."""
    seconds = max(0, int(((now or datetime.now(UTC)) - since).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}"


# What the streams can take


def takes_styles(*, err: bool = False) -> bool:
    """Whether the stream is a terminal with colours, and the user wants them (https://no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not is_dumb() and not os.environ.get("NO_COLOR")


def is_dumb() -> bool:
    """Whether a terminal, if there is one, can do no more than print lines."""
    return os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")


def takes_unicode(*, err: bool = False) -> bool:
    """Whether the stream's encoding has more than ASCII's letters and signs."""
    return "utf" in ((sys.stderr if err else sys.stdout).encoding or "").lower()


# Text on the terminal


def paint(text: str, *, err: bool = False, **style: Any) -> str:
    """The text made safe to print, in click's `style` where the stream takes it."""
    return click.style(printable(text), **style) if takes_styles(err=err) else printable(text)


def sign(kind: Sign, *, err: bool = False) -> str:
    """A sign for how something went, as the stream can show it; not painted."""
    return _SIGNS[kind][0 if takes_unicode(err=err) else 1]


def hang(label: str, text: str, *, err: bool = False, **style: Any) -> None:
    """Prints a painted label and the text beside it: on a terminal wrapped in its own column, with no word broken."""
    indent = _width(click.unstyle(label))
    lines = printable(text).splitlines() or [""]
    if (sys.stderr if err else sys.stdout).isatty():
        room = max(shutil.get_terminal_size().columns - indent, _NARROWEST)
        lines = [
            part
            for line in lines
            for part in textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
        ]
    click.echo(label + f"\n{' ' * indent}".join(paint(line, err=err, **style) for line in lines), err=err)


def url(address: str) -> None:
    """Prints what a command ends with: on a terminal below the phases, elsewhere alone, for a script to read."""
    click.echo(f"  {paint(address, bold=True)}" if sys.stdout.isatty() and not is_dumb() else address)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they have to be, and no cell is ever cut or broken, so that each can be copied.

    What is too long for a terminal stands on a line of its own: first the longest branches, above their rows; then the
    URLs, below theirs. Without a terminal there is one line a row, which a script may read.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    branch, link = header.index("BRANCH"), header.index("URL")
    apart = _make_room(widths, branch, link) if sys.stdout.isatty() else False
    _row(header, [*header[:link], "" if apart else "URL", *header[link + 1 :]], widths, bold=True)
    for row in cells:
        shown = list(row)
        if _width(row[branch]) > widths[branch]:
            click.echo(paint(row[branch], bold=True))
            shown[branch] = ""
        if apart:
            shown[link] = ""
        _row(header, shown, widths)
        if apart:
            click.echo(f"  {row[link]}")


def _make_room(widths: list[int], branch: int, link: int) -> bool:
    """Fits the columns' widths to the terminal; returns whether the URLs need lines of their own."""
    room = shutil.get_terminal_size().columns

    def left() -> int:
        return room - sum(width + 2 for at, width in enumerate(widths) if width and at != branch)

    if widths[branch] <= left():
        return False
    apart = left() < min(widths[branch], _USUAL_BRANCH)
    if apart:
        widths[link] = 0
    widths[branch] = min(widths[branch], _LONG_BRANCH, left() if left() >= _SHORTEST_BRANCH else _INDENT)
    return apart


def _row(header: Sequence[str], cells: Sequence[str], widths: Sequence[int], **style: Any) -> None:
    styles = {"BRANCH": {"bold": True}, "STATE": STATE_STYLES.get(cells[header.index("STATE")].partition(" ")[0], {})}
    parts = [
        paint(cell, **(style or styles.get(name, {}))) + " " * (width - _width(cell))
        for name, cell, width in zip(header, cells, widths, strict=True)
        if width
    ]
    click.echo("  ".join(parts).rstrip())


def _width(text: str) -> int:
    """Columns of a terminal (Unicode Standard Annex 11): two for wide characters, none for those that join others."""
    joining = ("Mn", "Me", "Cf")
    return sum(
        0 if unicodedata.category(character) in joining else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
