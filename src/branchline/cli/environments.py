"""`branchline list`, `show` and `open`."""

from __future__ import annotations

import click

from branchline import labels
from branchline.cli.options import json_option, open_source, project_of, project_option, target
from branchline.cli.output import STATE_STYLES, age, environment_json, hang, paint, print_json, size, table, url
from branchline.environment import Environment, Release
from branchline.errors import BranchlineError
from branchline.platform import assemble
from branchline.settings.reading import read_platform

_HEADER = ("BRANCH", "URL", "COMMIT", "STATE", "AGE", "MEMORY")


@click.command()
@project_option
@click.option("--all", "everything", is_flag=True, help="Every project of the platform, not only the repository's.")
@json_option
def list_command(project: str | None, everything: bool, as_json: bool) -> None:
    """List the environments of this repository's project; outside a repository, of all projects."""
    settings = read_platform()
    if project is None and not everything:
        repository = open_source(settings, None)
        project = project_of(repository, None) if repository is not None else None
    found = assemble(settings).engine.environments(project)
    if as_json:
        print_json([environment_json(environment) for environment in found])
    elif not found:
        whose = f"{project} has" if project else "There are"
        click.echo(f"{whose} no environments. Make one: branchline deploy", err=True)
    elif project is not None:
        table(_HEADER, [_row(environment) for environment in found])
    else:
        rows = [(environment.id.project, *_row(environment)) for environment in found]
        table(("PROJECT", *_HEADER), rows)


def _row(environment: Environment) -> tuple[str, ...]:
    return (
        labels.branch_value(environment.id.branch),
        environment.url,
        environment.commit[:12],
        f"{environment.state}{' (last failed)' if environment.release and environment.failed else ''}",
        age(environment.created),
        size(environment.memory),
    )


@click.command()
@click.argument("branch", required=False)
@project_option
@json_option
def show_command(branch: str | None, project: str | None, as_json: bool) -> None:
    """Show one environment: what serves, what served before, what is on its way, and what failed and why."""
    from branchline import lifecycle

    about = target(branch, project)
    environment = lifecycle.require(assemble(about.settings), about.environment)
    if as_json:
        print_json(environment_json(environment))
        return
    for name, value in _facts(environment):
        style = STATE_STYLES.get(environment.state, {}) if name == "state" else {}
        hang(paint(f"{name:<11}", bold=True), value, **style)


def _facts(environment: Environment) -> list[tuple[str, str]]:
    state = f"{environment.state}: {environment.reason}" if environment.reason else str(environment.state)
    facts = [
        ("branch", environment.id.branch),
        ("project", environment.id.project),
        ("url", environment.url),
        ("state", state),
        ("serving", _release(environment.release)),
        ("previous", _release(environment.previous)),
        ("on its way", _release(environment.pending)),
        ("failed", _release(environment.failed)),
        ("memory", size(environment.memory) if environment.memory is not None else ""),
        ("created", f"{environment.created:%Y-%m-%d %H:%M} UTC ({age(environment.created)} ago)"),
        ("expires", f"{environment.expires:%Y-%m-%d %H:%M} UTC" if environment.expires else ""),
        ("repository", environment.repository),
    ]
    return [(name, value) for name, value in facts if value]


def _release(release: Release | None) -> str:
    if release is None:
        return ""
    text = f"{release.commit[:12]}  release {release.number}, {age(release.created)} ago"
    return f"{text}: {release.failure}" if release.failure else text


@click.command()
@click.argument("branch", required=False)
@project_option
@json_option
def open_command(branch: str | None, project: str | None, as_json: bool) -> None:
    """Open a branch's URL in the browser, and print it."""
    import webbrowser

    from branchline import lifecycle

    about = target(branch, project)
    environment = lifecycle.require(assemble(about.settings), about.environment)
    opened = webbrowser.open(environment.url)
    if as_json:
        print_json(environment_json(environment) | {"opened": opened})
        return
    url(environment.url)
    if not opened:
        raise BranchlineError("no browser can be started here", remedy="open the URL where there is one")
