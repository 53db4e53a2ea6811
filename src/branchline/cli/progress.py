"""Shows what happens while it happens: with Rich on a terminal, as plain lines elsewhere. Always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

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

if TYPE_CHECKING:
    from rich.status import Status

_NAMES = {
    Phase.BUILD: "build",
    Phase.START: "start",
    Phase.HEALTHY: "healthy",
    Phase.ROUTE: "route",
    Phase.RETIRE: "old release",
}
_DOING = {
    Phase.BUILD: "building",
    Phase.START: "starting",
    Phase.HEALTHY: "waiting until it is healthy",
    Phase.ROUTE: "switching the route",
    Phase.RETIRE: "letting requests at the old release finish",
}


@contextmanager
def progress(*, quiet: bool = False, verbose: bool = False) -> Generator[Publish]:
    """A listener for the block. `quiet` shows nothing but warnings; `verbose` keeps every line that a build printed."""
    if quiet:
        yield _warn
    elif sys.stderr.isatty():
        with _terminal(verbose=verbose) as publish:
            yield publish
    else:
        yield _Plain().publish


def _warn(event: Event) -> None:
    if isinstance(event, Note) and event.warning:
        click.echo(f"warning: {event.text}", err=True)


def seconds(value: float) -> str:
    """A duration with as many digits as its size deserves."""
    return f"{value:.2f}s" if value < 0.1 else f"{value:.1f}s"


class _Plain:
    """A line an event, with nothing that needs a terminal."""

    def publish(self, event: Event) -> None:
        text = self._text(event)
        if text is not None:
            click.echo(text, err=True)

    def _text(self, event: Event) -> str | None:  # noqa: PLR0911 - one answer an event
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
                return f"ready in {seconds(event.seconds['total'])}" if not event.unchanged else "ready: unchanged"
            case Removed():
                return f"removed {len(event.resources)} resources of {event.environment.branch}"
            case _:
                return None


@contextmanager
def _terminal(*, verbose: bool) -> Generator[Publish]:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    with console.status("", spinner="dots") as status:
        yield _rich_listener(console.print, status, escape, verbose=verbose)


def _rich_listener(
    show: Callable[[str], None], status: Status, escape: Callable[[str], str], *, verbose: bool
) -> Publish:
    """Finished parts stay as lines; the part that runs, and the last line that it printed, has the spinner."""

    def publish(event: Event) -> None:
        match event:
            case DeployStarted():
                show(
                    f"[bold]{escape(event.environment.branch)}[/] at [cyan]{event.commit[:12]}[/]"
                    f" [dim]release {event.release}[/]"
                )
            case Waiting():
                status.update(f"[yellow]waiting[/] {escape(event.reason)}")
            case PhaseStarted():
                status.update(f"[dim]{_DOING[event.phase]}[/]")
            case PhaseFinished():
                detail = f"  [dim]{escape(event.detail)}[/]" if event.detail else ""
                show(f"  [green]✓[/] {_NAMES[event.phase]:<12}[bold]{seconds(event.seconds):>6}[/]{detail}")
                status.update("")
            case Output() if verbose:
                show(f"    [dim]{escape(event.line)}[/]")
            case Output():
                status.update(f"[dim]building  {escape(event.line[:100])}[/]")
            case Note():
                show(f"  [yellow]![/] {escape(event.text)}" if event.warning else f"    [dim]{escape(event.text)}[/]")
            case Ready() if event.unchanged:
                show("  [green]✓[/] unchanged: this release serves already")
            case _:
                pass

    return publish
