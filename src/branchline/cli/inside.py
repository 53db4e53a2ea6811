"""`branchline logs` and `exec`."""

from __future__ import annotations

import sys
from typing import TextIO

import click

from branchline.cli.options import project_option, target
from branchline.errors import ConfigurationError
from branchline.platform import assemble

_INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as the shell, docker and kubectl have it."""


@click.command()
@click.argument("branch", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, and with the releases that replace it.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="LINES", help="Only the last so many lines.")
@project_option
def logs_command(branch: str | None, follow: bool, tail: int | None, project: str | None) -> None:
    """Print what a branch's release printed, to its output and to its errors.

    With -f it goes on through crashes, sleep and redeploys, each told in a line that starts with `---`, until Ctrl-C or
    until the branch is destroyed.
    """
    from branchline import lifecycle

    about = target(branch, project)
    platform = assemble(about.settings)
    lifecycle.require(platform, about.environment)
    try:
        for piece in platform.engine.logs(about.environment, follow=follow, tail=tail):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:  # the usual way to end it, and nothing is left undone
        sys.exit(_INTERRUPTED)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-T", "--no-terminal", is_flag=True, help="Don't give the command a terminal, even if there is one.")
@project_option
@click.argument("branch", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD [ARGS]...")
def exec_command(branch: str | None, command: tuple[str, ...], no_terminal: bool, project: str | None) -> None:
    """Run a command in a branch's container: branchline exec BRANCH -- CMD [ARGS].

    On one machine, its exit code is this one's. Amazon ECS doesn't hand it on: there, this one's is 0 once the command
    has run, however it ended.
    """
    from branchline import lifecycle

    words = command[1:] if command[:1] == ("--",) else command
    if not branch or not words:
        raise ConfigurationError(
            "which command, in which branch's container? Both have to be named",
            remedy="say: branchline exec BRANCH -- CMD",
        )
    about = target(branch, project)
    platform = assemble(about.settings)
    lifecycle.require(platform, about.environment)
    terminal = not no_terminal and _is_terminal(sys.stdin) and _is_terminal(sys.stdout)
    try:
        code = platform.engine.execute(about.environment, words, terminal=terminal)
    except KeyboardInterrupt:
        click.echo("interrupted: the command may go on running in the container", err=True)
        code = _INTERRUPTED
    sys.exit(code)


def _is_terminal(stream: TextIO | None) -> bool:
    """Python has no stream at all where the shell has closed it (`<&-`)."""
    return stream is not None and stream.isatty()
