"""`branchline router`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from branchline.cli.options import json_option
from branchline.cli.output import JSON, print_json
from branchline.platform import router
from branchline.settings.reading import read_platform

if TYPE_CHECKING:
    from branchline.engines.docker.router.process import RouterStatus


@click.group()
def router_command() -> None:
    """Start, stop or look at the router, the one process that all environments are behind.

    Other commands start it when they need it; these are for a machine's start-up, and for taking it down.
    """


@router_command.command("start")
@json_option
def start(as_json: bool) -> None:
    """Start the router, with the routes as the engine has them, and put the firewall's rules in place.

    Run it when the machine has started. A router that runs already gets its routes anew.
    """
    routing = router(read_platform())
    routing.start()
    found = routing.router.status()
    if as_json:
        print_json(_json(found))
    else:
        click.echo(f"the router runs as process {found.pid}")


@router_command.command("stop")
@json_option
def stop(as_json: bool) -> None:
    """Stop the router. Environments go on running, but their URLs don't answer."""
    stopped = router(read_platform()).stop()
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo("the router is stopped" if stopped else "the router wasn't running")


@router_command.command("status")
@json_option
def status(as_json: bool) -> None:
    """Say whether the router runs, and where it listens."""
    found = router(read_platform()).router.status()
    if as_json:
        print_json(_json(found))
        return
    where = ", ".join(found.addresses)
    click.echo(f"running as process {found.pid}, listening on {where}" if found.running else "not running")


def _json(found: RouterStatus) -> JSON:
    return {"running": found.running, "pid": found.pid, "addresses": list(found.addresses)}
