"""Shows what happens while it happens: with Rich on a terminal, as plain lines elsewhere. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import click

from branchline.cli.output import SIGN_COLOURS, hang, is_dumb, paint, sign, takes_unicode
from branchline.errors import BranchlineError
from branchline.events import (
    DeployStarted,
    Event,
    Note,
    Output,
    Phase,
    PhaseFinished,
    PhaseStarted,
    Publish,
    Ready,
    Removed,
    Waiting,
)
from branchline.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NAMES = {
    Phase.BUILD: "build",
    Phase.START: "start",
    Phase.HEALTHY: "healthy",
    Phase.ROUTE: "route",
    Phase.RETIRE: "old release",
}
_SPINNER = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "-\\|/")
_TURNS = 10
"""Steps of the spinner a second."""

_Result = Literal["ok", "failure", "stopped"]
_STYLES: dict[_Result | None, str] = {
    "ok": f"bold {SIGN_COLOURS['ok']}",
    "failure": f"bold {SIGN_COLOURS['failure']}",
    "stopped": "yellow",
    None: "bold",
}


@contextmanager
def progress(*, quiet: bool = False, verbose: bool = False) -> Generator[Publish]:
    """A listener for the block. `quiet` shows nothing but warnings; `verbose` keeps every line that a build printed.

    A block that ends with an error leaves the phase that it ended in marked as failed; the error itself is told by
    whoever catches it.
    """
    if quiet:
        yield _warn
    elif sys.stderr.isatty() and not is_dumb():
        with _terminal(verbose=verbose) as publish:
            yield publish
    else:
        with _plain() as publish:
            yield publish


def seconds(value: float) -> str:
    """A duration with as many digits as its size deserves."""
    if value >= 60:
        return f"{int(value) // 60}m {int(value) % 60}s"
    return f"{value:.2f}s" if value < 0.1 else f"{value:.1f}s"


def _warn(event: Event) -> None:
    if isinstance(event, Note) and event.warning:
        hang(paint("warning: ", err=True, fg="yellow"), event.text, err=True)


def _result(error: BaseException) -> _Result:
    """Whether an error is a failure, or only the end of work that isn't wanted any more."""
    wanted = isinstance(error, Exception) and not (isinstance(error, BranchlineError) and error.exit_code == 0)
    return "failure" if wanted else "stopped"


# Without a terminal: a line an event


@contextmanager
def _plain() -> Generator[Publish]:
    running: list[tuple[Phase, float]] = []

    def publish(event: Event) -> None:
        match event:
            case PhaseStarted():
                running[:] = [(event.phase, time.monotonic())]
            case PhaseFinished():
                running.clear()
            case _:
                pass
        if (line := _line(event)) is not None:
            click.echo(printable(line), err=True)

    try:
        yield publish
    except BaseException as error:
        for phase, begun in running:
            ended = "failed" if _result(error) == "failure" else "stopped"
            click.echo(f"{_NAMES[phase]} {ended} after {seconds(time.monotonic() - begun)}", err=True)
        raise


def _line(event: Event) -> str | None:  # noqa: PLR0911 - one answer an event
    match event:
        case DeployStarted():
            return f"deploying {event.environment.branch} at {event.commit[:12]} as release {event.release}"
        case Waiting():
            return f"waiting: {event.reason}"
        case PhaseFinished():
            detail = f"  ({event.detail})" if event.detail else ""
            return f"{_NAMES[event.phase]} {seconds(event.seconds)}{detail}"
        case Output():
            return f"  | {event.line}"
        case Note():
            return f"warning: {event.text}" if event.warning else f"  {event.text}"
        case Ready():
            return "ready: unchanged" if event.unchanged else f"ready in {seconds(event.seconds['total'])}"
        case Removed():
            return f"removed {len(event.resources)} resources of {event.environment.branch}"
        case _:
            return None


# On a terminal: one line of phases, and below it what the running one does


@contextmanager
def _terminal(*, verbose: bool) -> Generator[Publish]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    shown = _Shown(console, verbose, _Marks.of_standard_error())
    live = Live(console=console, get_renderable=shown.running, refresh_per_second=_TURNS, transient=True)
    try:
        with live:
            yield shown.publish
    except BaseException as error:
        shown.end(_result(error))
        raise
    shown.end()


@dataclass(frozen=True, slots=True)
class _Marks:
    """What the terminal's encoding has for each result. Rich puts a stream of its own in place of standard error."""

    encoding: str
    spinner: str
    of: dict[_Result, str]
    overflow: Literal["ellipsis", "crop"]

    @classmethod
    def of_standard_error(cls) -> _Marks:
        unicode = takes_unicode(err=True)
        results: dict[_Result, str] = {
            "ok": sign("ok", err=True),
            "failure": sign("failure", err=True),
            "stopped": "-",
        }
        spinner, overflow = (_SPINNER[0], "ellipsis") if unicode else (_SPINNER[1], "crop")
        return cls(sys.stderr.encoding or "ascii", spinner, results, overflow)


@dataclass(slots=True)
class _Step:
    """A part of the work, as the line of phases has it."""

    name: str
    begun: float
    """On the clock that never goes back, in seconds."""
    result: _Result | None = None
    """None while it runs."""
    took: float = 0.0
    lasting: bool = True
    """Whether it is worth a word once the work is over."""


@dataclass(slots=True)
class _Shown:
    """What stands on the terminal: while the work goes on, drawn anew many times a second; then for good."""

    console: Console
    verbose: bool
    marks: _Marks
    _title: str = ""
    _steps: list[_Step] = field(default_factory=lambda: [_Step("preparing", time.monotonic(), lasting=False)])
    _activity: str = ""
    _notes: list[str] = field(default_factory=list[str])
    _brief: bool = False
    """Whether there was no release to replace, so that nobody cares how long that took."""

    def publish(self, event: Event) -> None:
        """Listens to the events."""
        match event:
            case DeployStarted():
                self._title = f"{event.environment.branch} at {event.commit[:12]}, release {event.release}"
            case Waiting():
                self._begin("waiting", event.reason, lasting=False)
            case PhaseStarted(phase=Phase.RETIRE):
                self._begin(_NAMES[Phase.RETIRE], "the new one serves; requests at the old one may finish")
            case PhaseStarted():
                self._begin(_NAMES[event.phase], "")
            case PhaseFinished():
                self._finish(event)
            case Output():
                self._activity = event.line.strip()
                if self.verbose:
                    self._print(self._text(f"    {event.line}", "dim"))
            case Note() if event.warning:
                self._print(self._text("  ").append("! ", "bold yellow").append(printable(event.text)))
            case Note():
                self._notes.append(event.text)
            case Ready():
                self._brief = event.first or event.unchanged
                if event.unchanged:
                    self._steps = [_Step("unchanged", time.monotonic(), "ok", event.seconds["total"])]
                    self._notes = ["this release serves already"]
            case _:
                pass

    def running(self) -> Text:
        """What is drawn while the work goes on: no line is wider than the terminal, so that all can be drawn over."""
        title = [self._text(f"  {self._title}", "dim")] if self._title else []
        lines = [*title, *self._phases(), *self._noted()]
        if self._activity:
            lines.append(self._text(f"    {self._activity}", "dim"))
        for line in lines:
            line.truncate(self.console.width, overflow=self.marks.overflow)
        return self._text("\n").join(lines[-self.console.height + 1 :])

    def end(self, result: _Result = "ok") -> None:
        """Leaves what is worth keeping on the terminal."""
        self._steps = [step for step in self._steps if step.lasting or step.result is not None]
        for step in self._steps:
            if step.result is None:
                step.result, step.took = result, time.monotonic() - step.begun
        for line in (*self._phases(), *self._noted()):
            self._print(line)

    def _begin(self, name: str, activity: str, *, lasting: bool = True) -> None:
        done = [step for step in self._steps if step.result is not None]
        self._steps = [*done, _Step(name, time.monotonic(), lasting=lasting)]
        self._activity = activity

    def _finish(self, event: PhaseFinished) -> None:
        self._activity = ""
        step = self._steps.pop()
        if event.phase is Phase.RETIRE and self._brief:
            return
        self._steps.append(_Step(step.name, step.begun, "ok", event.seconds))
        if event.phase is Phase.BUILD and event.detail:
            self._notes.append(event.detail)

    def _noted(self) -> Iterator[Text]:
        return (self._text(f"    {note}", "dim") for note in self._notes)

    def _phases(self) -> Iterator[Text]:
        """As many to a line as fit."""
        line = self._text("")
        for step in self._steps:
            part = self._step(step)
            if line.cell_len and line.cell_len + 3 + part.cell_len > self.console.width:
                yield line
                line = self._text("")
            line = line.append("   " if line.cell_len else "  ").append_text(part)
        if line.cell_len:
            yield line

    def _step(self, step: _Step) -> Text:
        from rich.text import Text

        if step.result is None:
            elapsed = time.monotonic() - step.begun
            mark, took = self.marks.spinner[int(elapsed * _TURNS) % len(self.marks.spinner)], f"{elapsed:.1f}s"
        else:
            mark, took = self.marks.of[step.result], seconds(step.took)
        return Text.assemble((mark, _STYLES[step.result]), f" {step.name} ", (took, "dim"))

    def _text(self, text: str, style: str = "") -> Text:
        from rich.text import Text

        encoding = (
            self.marks.encoding
        )  # what it lacks takes more columns than Rich reckons with, unless it is replaced here
        return Text(printable(text).encode(encoding, "backslashreplace").decode(encoding), style)

    def _print(self, line: Text) -> None:
        """For good. Left to the terminal to wrap, so that a copied line is whole."""
        self.console.print(line, soft_wrap=True)
