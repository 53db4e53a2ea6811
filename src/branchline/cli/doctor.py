"""`branchline doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from branchline.cli.options import json_option
from branchline.cli.output import SIGN_COLOURS, hang, paint, print_json, sign
from branchline.platform import checks
from branchline.settings.reading import read_platform

if TYPE_CHECKING:
    from branchline.checks import Check


@click.command()
@json_option
def doctor_command(as_json: bool) -> None:
    """Check the engine, disk, ports, router, isolation and versions; a failure says its remedy, and makes it exit 1."""
    report(checks(read_platform()), as_json=as_json)


def report(found: list[Check], *, as_json: bool) -> NoReturn:
    """Prints the findings, and ends the command with 1 where one is a failure."""
    if as_json:
        print_json(
            [
                {"check": item.name, "result": item.result, "finding": item.finding, "remedy": item.remedy or None}
                for item in found
            ]
        )
    else:
        signs = len(sign("ok")) + 1
        names = max(len(item.name) for item in found) + 1
        for item in found:
            mark = sign(item.result)
            label = f"{paint(mark, fg=SIGN_COLOURS[item.result])}{' ' * (signs - len(mark))}{item.name:<{names}}"
            hang(label, item.finding)
            if item.remedy:  # left to the terminal to wrap, so that a command in it can be copied
                click.echo(paint(f"{' ' * (signs + names)}{sign('remedy')} {item.remedy}"))
    sys.exit(1 if any(item.result == "failure" for item in found) else 0)
