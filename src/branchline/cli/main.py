"""The command `branchline`: finds the subcommand, and turns every error into text in one place."""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from branchline import __version__
from branchline.errors import BranchlineError

_COMMANDS = {
    "init": ("init", "Look at the repository and write a branchline.toml."),
    "deploy": ("deploy", "Give a branch's commit its URL."),
    "list": ("environments", "List the environments."),
    "show": ("environments", "Show one environment and its releases."),
    "open": ("environments", "Open a branch's URL in the browser."),
    "logs": ("inside", "Print what a branch's release printed."),
    "exec": ("inside", "Run a command in a branch's container."),
    "rollback": ("release", "Go back to the release that served before."),
    "sleep": ("release", "Stop a branch's container and free its memory."),
    "wake": ("release", "Start a sleeping branch again."),
    "destroy": ("destroy", "Remove all that a branch has."),
    "reap": ("destroy", "Remove environments whose branch is gone."),
    "doctor": ("doctor", "Check the engine, the router and this machine."),
    "router": ("router", "Start, stop or look at the router."),
    "schema": ("schema", "Print the JSON Schema of a settings file."),
}
"""Each command's module in this package, which is loaded when it is used, and its line in the help."""


class _Commands(click.Group):
    """A group whose commands are imported only when they run: `--help` and `--version` load none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"branchline.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Every git branch gets a live URL, and loses it without a trace when the branch is deleted.",
    epilog="Exit codes: 0 done, 1 the deploy or action failed, 2 wrong usage or configuration.",
)
@click.version_option(__version__, prog_name="branchline")
def cli() -> None:
    """The root of all commands."""


def main() -> NoReturn:
    """The entry point. Never shows a traceback for a user's mistake, and never a bare one for ours."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cli.main(standalone_mode=False)
    except BranchlineError as error:
        _report(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: what served before goes on serving", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """A CI system's cancellation is a Ctrl-C that nobody typed: the work in flight is undone the same way."""
    raise KeyboardInterrupt


def _report(error: BranchlineError) -> None:
    if "--json" in sys.argv:
        failure = {"error": error.message, "remedy": error.remedy, "details": list(error.details)}
        click.echo(json.dumps(failure | {"exit_code": error.exit_code}))
    superseded = error.exit_code == 0
    for line in error.details:
        click.echo(f"  | {line}", err=True)
    click.secho(error.message if superseded else f"error: {error.message}", fg=None if superseded else "red", err=True)
    if error.remedy:
        click.echo(f"  → {error.remedy}" if _unicode() else f"  -> {error.remedy}", err=True)


def _unicode() -> bool:
    return "utf" in (sys.stderr.encoding or "").lower()
