"""`branchline rollback`, `sleep` and `wake`."""

from __future__ import annotations

import click

from branchline.cancellation import Cancellation
from branchline.cli.announcing import announcing, of_environment
from branchline.cli.options import json_option, project_option, target, timeout_option
from branchline.cli.output import environment_json, paint, print_json, url
from branchline.cli.progress import progress
from branchline.platform import assemble


@click.command()
@click.argument("branch", required=False)
@project_option
@timeout_option("Give up, and leave what serves now, after so many seconds.")
@json_option
def rollback_command(branch: str | None, project: str | None, timeout: float | None, as_json: bool) -> None:
    """Go back to the release that served before. Doing it twice goes there and back again."""
    from branchline import lifecycle

    about = target(branch, project)
    platform = assemble(about.settings)
    found = lifecycle.require(platform, about.environment)
    commit = found.previous.commit if found.previous is not None else ""
    with announcing(about.settings) as told, progress(quiet=as_json) as show:
        publish = told.listening(show, lambda: {found.id: of_environment(found, commit)})
        ready = lifecycle.rollback(platform, about.environment, publish, Cancellation(), timeout)
    if as_json:
        environment = lifecycle.require(platform, about.environment)
        print_json(environment_json(environment) | {"seconds": ready.seconds})
    else:
        url(ready.url)


@click.command()
@click.argument("branch", required=False)
@project_option
@json_option
def sleep_command(branch: str | None, project: str | None, as_json: bool) -> None:
    """Stop a branch's container and free its memory. Its URL says so until it is woken."""
    from branchline import lifecycle

    about = target(branch, project)
    platform = assemble(about.settings)
    lifecycle.require(platform, about.environment)
    with progress(quiet=as_json) as publish:
        lifecycle.sleep(platform, about.environment, publish, Cancellation())
    if as_json:
        print_json(environment_json(lifecycle.require(platform, about.environment)))
    else:
        click.echo(paint(f"{about.environment.branch} sleeps"))


@click.command()
@click.argument("branch", required=False)
@project_option
@timeout_option("Give up after so many seconds.")
@json_option
def wake_command(branch: str | None, project: str | None, timeout: float | None, as_json: bool) -> None:
    """Start a sleeping branch again, and wait until it serves."""
    from branchline import lifecycle

    about = target(branch, project)
    platform = assemble(about.settings)
    lifecycle.require(platform, about.environment)
    with progress(quiet=as_json) as publish:
        lifecycle.wake(platform, about.environment, publish, Cancellation(), timeout)
    environment = lifecycle.require(platform, about.environment)
    if as_json:
        print_json(environment_json(environment))
    else:
        url(environment.url)
