"""The command `branchline`: finds the subcommand, and turns every error into text in one place."""

from __future__ import annotations

import atexit
import codecs
import gc
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from branchline import __version__, labels
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
    "aws": ("aws", "Make, check or remove what a platform on Amazon ECS stands on."),
    "webhook": ("webhook", "Have deleted branches' environments removed."),
    "schema": ("schema", "Print the JSON Schema of a settings file."),
}
"""Each command's module in this package, which is loaded when it is used, and its line in the help."""

_AFTER_INTERRUPTION = {
    "deploy": "what serves goes on serving; run it again to deploy",
    "rollback": "what serves goes on serving",
    "destroy": "run it again to remove the rest",
    "reap": "run it again to remove the rest",
    "aws": "AWS goes on with what it was told; run it again to follow that and go on",
}
"""What a user may rely on, or should do, once a command was interrupted."""


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
    _prepare_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _interrupt)
    # Otherwise the interpreter ends with a search for garbage in all that was imported: 15 ms.
    atexit.register(gc.freeze)
    try:
        sys.exit(_run())
    finally:
        _drop_what_cannot_be_written()


def _run() -> int:  # noqa: PLR0911 - one answer an error
    """Runs the command that the arguments name, and reports the error that it ends with; returns the exit code."""
    try:
        cli.main(prog_name="branchline", standalone_mode=False)
    except BranchlineError as error:
        return _report(error.exit_code, error.message, error.remedy, error.details)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        message, command = error.format_message(), error.ctx.command_path if error.ctx else "branchline"
        return _report(error.exit_code, message[:1].lower() + message[1:], f"see '{command} --help'")
    except (KeyboardInterrupt, click.Abort):
        return _report(130, "interrupted", _AFTER_INTERRUPTION.get(_command(), ""))
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return _report(1, f"{where}{what}", "see what is wrong with this machine there, and run the command again")
    except Exception as error:  # noqa: BLE001 - the last resort: ours, so whoever mends it needs all of it
        import traceback

        lines = "".join(traceback.format_exception(error)).splitlines()
        said = f"{type(error).__name__}: {error}"
        return _report(1, f"branchline itself failed: {said}", "a defect: please report it, with these lines", lines)
    return 0


def _command() -> str:
    """The subcommand that was asked for."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _prepare_streams() -> None:
    """Makes up for standard streams that are closed, or that can't take every character.

    A closed one leads nowhere from now on; otherwise the next file that is opened would take its place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open to the process's end
    codecs.register_error("escape", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""What the stream's encoding lacks: the bytes of a name that isn't UTF-8 as `\xff`, characters as `\u2713`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = labels.branch_value(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode(), error.end


def _drop_what_cannot_be_written() -> None:
    """The interpreter writes out what is left when it ends, and would complain in its own words where that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """A CI system's cancellation is a Ctrl-C that nobody typed: the work in flight is undone the same way."""
    raise KeyboardInterrupt


def _report(exit_code: int, message: str, remedy: str, details: Sequence[str] = ()) -> int:
    """Tells the user; with --json, a program too. Returns the exit code."""
    # `exec` hands its arguments on, so there the option is the command's.
    if "--json" in sys.argv and _command() != "exec":
        said, advice, *lines = map(labels.branch_value, (message, remedy, *details))  # JSON is UTF-8
        failure = {"error": said, "remedy": advice, "details": lines, "exit_code": exit_code}
        with suppress(OSError):
            click.echo(json.dumps(failure))
    from branchline.cli.output import hang, paint, sign

    with suppress(OSError):  # nobody reads it any more, or the disk that it goes to is full
        for line in details:
            click.echo(f"  {paint('|', err=True, dim=True)} {paint(line, err=True)}", err=True)
        hang("" if exit_code == 0 else paint("error: ", err=True, fg="red", bold=True), message, err=True)
        if remedy:  # left to the terminal to wrap, so that a command in it can be copied
            click.echo(paint(f"  {sign('remedy', err=True)} {remedy}", err=True), err=True)
    return exit_code
