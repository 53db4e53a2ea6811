"""`branchline logs` and `exec`."""

from __future__ import annotations

import sys

import click

from branchline.cli.options import project_option, target
from branchline.platform import assemble


@click.command()
@click.argument("branch", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, and with the releases that replace it.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="LINES", help="Only the last so many lines.")
@project_option
def logs_command(branch: str | None, follow: bool, tail: int | None, project: str | None) -> None:
    """Print what a branch's release printed, to its output and to its errors."""
    from branchline import lifecycle

    about = target(branch, project)
    platform = assemble(about.settings)
    lifecycle.require(platform, about.environment)
    try:
        for piece in platform.engine.logs(about.environment, follow=follow, tail=tail):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        if not follow:
            raise


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-T", "--no-terminal", is_flag=True, help="Don't give the command a terminal, even if there is one.")
@project_option
@click.argument("branch")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(branch: str, command: tuple[str, ...], no_terminal: bool, project: str | None) -> None:
    """Run a command in a branch's container: branchline exec BRANCH -- CMD [ARGS]. Its exit code is this one's."""
    from branchline import lifecycle

    about = target(branch, project)
    platform = assemble(about.settings)
    lifecycle.require(platform, about.environment)
    words = command[1:] if command[0] == "--" and len(command) > 1 else command
    terminal = not no_terminal and sys.stdin.isatty() and sys.stdout.isatty()
    sys.exit(platform.engine.execute(about.environment, words, terminal=terminal))
