"""`branchline router`."""

from __future__ import annotations

import click

from branchline.cli.options import json_option
from branchline.cli.output import print_json
from branchline.platform import router
from branchline.settings.reading import read_platform


@click.group()
def router_command() -> None:
    """Start, stop or look at the router, the one process that all environments are behind.

    Other commands start it when they need it; these are for a machine's start-up, and for taking it down.
    """


@router_command.command("start")
def start() -> None:
    """Start the router, with the routes as the engine has them. One that runs already gets them anew."""
    routing = router(read_platform())
    routing.sync()
    click.echo(f"the router runs as process {routing.router.status().pid}")


@router_command.command("stop")
def stop() -> None:
    """Stop the router. Environments go on running, but their URLs don't answer."""
    click.echo("the router is stopped" if router(read_platform()).stop() else "the router wasn't running")


@router_command.command("status")
@json_option
def status(as_json: bool) -> None:
    """Say whether the router runs, and where it listens."""
    found = router(read_platform()).router.status()
    if as_json:
        print_json({"running": found.running, "pid": found.pid, "addresses": list(found.addresses)})
        return
    where = ", ".join(found.addresses)
    click.echo(f"running as process {found.pid}, listening on {where}" if found.running else "not running")
