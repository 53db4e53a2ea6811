"""`branchline doctor`."""

from __future__ import annotations

import sys

import click

from branchline.cli.options import json_option
from branchline.cli.output import print_json
from branchline.platform import checks
from branchline.settings.reading import read_platform

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@click.command()
@json_option
def doctor_command(as_json: bool) -> None:
    """Check the engine, disk, ports, router, isolation and versions; a failure says its remedy, and makes it exit 1."""
    found = checks(read_platform())
    if as_json:
        print_json(
            [
                {"check": item.name, "result": item.result, "finding": item.finding, "remedy": item.remedy or None}
                for item in found
            ]
        )
    else:
        for item in found:
            sign, colour = _SIGNS[item.result]
            click.echo(f"{click.style(sign, fg=colour)} {item.name:<13}{item.finding}")
            if item.remedy:
                click.echo(f"  {'':<13}→ {item.remedy}")
    sys.exit(1 if any(item.result == "failure" for item in found) else 0)
