"""Shows what becomes of CloudFormation stacks: a line for each resource that is done, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import click

from branchline.cli.output import SIGN_COLOURS, Sign, is_dumb, paint, sign
from branchline.cli.progress import seconds
from branchline.printable import printable

if TYPE_CHECKING:
    from rich.status import Status

    from branchline.engines.ecs.stacks import Progress, Report

_ENDED: dict[str, tuple[Sign, str]] = {
    "CREATE_COMPLETE": ("ok", "made"),
    "UPDATE_COMPLETE": ("ok", "changed"),
    "DELETE_COMPLETE": ("ok", "removed"),
    "CREATE_FAILED": ("failure", "failed"),
    "UPDATE_FAILED": ("failure", "failed"),
    "DELETE_FAILED": ("failure", "failed"),
}


@contextmanager
def stack_progress() -> Generator[Report]:
    """A listener for the block. A block that is interrupted says what AWS was doing, since AWS goes on with that."""
    shown = _Shown()
    try:
        if sys.stderr.isatty() and not is_dumb():
            from rich.console import Console

            with Console(stderr=True).status("looking at the stacks") as shown.status:
                yield shown.publish
        else:
            yield shown.publish
    except KeyboardInterrupt:
        if shown.stack:
            click.echo(f"\n{printable(shown.state())}", err=True)
        raise


@dataclass(slots=True)
class _Shown:
    stack: str = ""
    """The one that something is being done to; empty when nothing is."""
    status: Status | None = None
    """The line that moves, on a terminal."""
    _begun: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When AWS began with each resource that it is at."""
    _done: int = 0

    def publish(self, progress: Progress) -> None:
        """Listens to the stack's events."""
        if self.status is not None:  # while it moves, standard error is a stream of Rich's, which click goes around
            self.status.stop()
        itself = progress.resource == progress.stack
        if progress.stack != self.stack:
            self.stack, self._done = progress.stack, 0
            self._begun.clear()
        if progress.status.endswith("_IN_PROGRESS"):
            if not itself:  # the stack's own, such as its clean-up, come several times
                self._begun.setdefault(progress.resource, progress.at)
            elif "ROLLBACK" in progress.status:
                click.echo(paint(f"{progress.stack}: undoing what was done: {progress.reason}", err=True), err=True)
        elif itself:
            self.stack = ""
        elif progress.status in _ENDED:
            self._end(progress)
        if self.status is not None:
            from rich.markup import escape

            self.status.update(escape(printable(self.state())))
            self.status.start()

    def state(self) -> str:
        """What AWS is doing, in a line."""
        under_way = f", at {', '.join(self._begun)}" if self._begun else ""
        return f"{self.stack}: {self._done} resources done{under_way}" if self.stack else "looking at the stacks"

    def _end(self, progress: Progress) -> None:
        kind, verb = _ENDED[progress.status]
        took = (progress.at - self._begun.pop(progress.resource, progress.at)).total_seconds()
        self._done += 1
        mark = paint(sign(kind, err=True), err=True, fg=SIGN_COLOURS[kind])
        reason = f": {progress.reason}" if kind == "failure" and progress.reason else ""
        text = f"{progress.resource} {verb} in {seconds(took)}  ({progress.kind}){reason}"
        click.echo(f"  {mark} {paint(text, err=True)}", err=True)
