"""What commands print: the documented JSON shapes, and text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from branchline import labels
from branchline.environment import Environment, Release

JSON = dict[str, Any]


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


def table(header: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str | None] = ()) -> None:
    """Columns: with Rich on a terminal, padded plain text elsewhere, where a script may read them."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for number, name in enumerate(header):
            rich_table.add_column(name, overflow="fold", no_wrap=name in ("STATE", "AGE", "COMMIT", "MEMORY"))
            if number < len(styles) and styles[number]:
                rich_table.columns[number].style = styles[number] or ""
        for row in rows:
            rich_table.add_row(*row)
        Console(highlight=False).print(rich_table)
        return
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
