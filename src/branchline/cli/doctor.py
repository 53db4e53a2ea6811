"""`branchline doctor`."""

from __future__ import annotations

import sys

import click

from branchline.cli.options import json_option
from branchline.cli.output import SIGN_COLOURS, hang, paint, print_json, sign
from branchline.platform import checks
from branchline.settings.reading import read_platform


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
        width = len(sign("ok")) + 1
        for item in found:
            mark = sign(item.result)
            label = f"{paint(mark, fg=SIGN_COLOURS[item.result])}{' ' * (width - len(mark))}{item.name:<13}"
            hang(label, item.finding)
            if item.remedy:  # left to the terminal to wrap, so that a command in it can be copied
                click.echo(paint(f"{' ' * (width + 13)}{sign('remedy')} {item.remedy}"))
    sys.exit(1 if any(item.result == "failure" for item in found) else 0)
