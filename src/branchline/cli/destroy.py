"""`branchline destroy` and `reap`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.cli.announcing import announcing, of_environment
from branchline.cli.options import json_option, open_source, project_of, project_option, repo_option, target
from branchline.cli.output import JSON, hang, paint, print_json
from branchline.cli.progress import progress
from branchline.environment import Environment, EnvironmentId
from branchline.errors import ConfigurationError, NotFoundError, SourceError
from branchline.forges import forks
from branchline.platform import assemble, forges
from branchline.ports import Platform, Source
from branchline.printable import printable
from branchline.settings.reading import read_platform
from branchline.telling import About

if TYPE_CHECKING:
    from branchline.forges.judging import ForgeBranches
    from branchline.lifecycle import Branches, Reapable


@click.command()
@click.argument("branches", nargs=-1, metavar="[BRANCH]...")
@click.option("--all", "everything", is_flag=True, help="Every branch of the project; outside a repository, of all.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before --all; without a terminal nobody is asked.")
@project_option
@json_option
def destroy_command(branches: tuple[str, ...], everything: bool, yes: bool, project: str | None, as_json: bool) -> None:
    """Remove all that a branch has: container, network, images, route. Says what that was.

    A deploy of it that is running is cancelled. A branch that has nothing is no error.
    """
    from branchline import lifecycle

    if everything and branches:
        raise ConfigurationError("--all is given, and branches too", remedy="give one of the two")
    if not everything and not branches:
        raise ConfigurationError("which branches?", remedy="name them ('branchline list' shows them), or give --all")
    if everything:
        settings = read_platform()
        repository = open_source(settings, None) if project is None else None
        if repository is not None:
            project = project_of(repository, None)
        platform = assemble(settings)
        wanted = [item.id for item in platform.engine.environments(project)]
        left = platform.engine.leftovers()
        wanted += [item for item in left if item not in wanted and project in (None, item.project)]
        if wanted and not yes and not as_json and sys.stdin.isatty():
            names = ", ".join(f"{item.branch} of {item.project}" for item in wanted)
            if not click.confirm(f"Remove {len(wanted)} environments: {printable(names)}?", err=True):
                click.echo("nothing was removed")
                return
    else:
        about = [target(branch, project) for branch in branches]
        settings = about[0].settings
        platform = assemble(settings)
        wanted = [item.environment for item in about]
    removed: dict[EnvironmentId, tuple[str, ...]] = {}
    with announcing(settings) as told, progress(quiet=True) as show:
        publish = told.listening(show, lambda: _abouts(platform, wanted))
        why = told.by_whom("destroy")
        for environment in wanted:
            removed[environment] = lifecycle.destroy(platform, environment, publish, Cancellation(), why=why)
    if as_json:
        print_json([_json(environment, resources) for environment, resources in removed.items()])
        return
    for environment, resources in removed.items():
        _say(f"{environment.branch}: removed", resources, f"{environment.branch}: there was nothing to remove")
        if not resources:
            _say_what_there_is(platform, environment)


@click.command()
@repo_option
@project_option
@click.option("--dry-run", is_flag=True, help="Only say what would be removed, and why.")
@json_option
def reap_command(repo: str | None, project: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove environments whose branch no longer exists in the remote, whose time is up, and what dead deploys left.

    The repository's remote is asked which branches exist; a repository without a remote answers for itself. Branches of
    other repositories are asked of their forges, where there are tokens. Where nobody can be asked, or there are no
    branches at all, nothing is removed.
    """
    from branchline import lifecycle
    from branchline.forges.judging import ForgeBranches

    settings = read_platform()
    source = open_source(settings, repo)
    if source is None and repo is None:
        asked = "branches that forges tell of, " if forges(settings) else ""
        click.echo(f"no repository here: only {asked}expired environments and leftovers are looked at", err=True)
    name = project_of(source, project) if source is not None else project
    platform = assemble(settings)
    now = datetime.now(UTC)
    forge_branches = ForgeBranches(forges(settings))
    branches = _branches(source, name, forge_branches, any_repository=project is not None)
    items = lifecycle.reapable(platform, branches, now)
    if source is not None and name is not None and project is None:
        _say_what_comes_from_elsewhere(platform, name, source)
    if dry_run:
        removed = {item: item.resources for item in items}
    else:
        with announcing(settings) as told, progress(quiet=True) as show:
            publish = told.listening(show, lambda: _abouts(platform, [item.environment for item in items]))
            removed = lifecycle.reap(platform, items, branches, now, publish, Cancellation())
    if as_json:
        print_json([_json(item.environment, resources) | {"why": item.why} for item, resources in removed.items()])
    else:
        _say_reaped(removed, dry_run=dry_run)
    if forge_branches.problems:
        raise SourceError("; ".join(forge_branches.problems), remedy="check the token, and run it again")


def _say_reaped(removed: dict[Reapable, tuple[str, ...]], *, dry_run: bool) -> None:
    for item, resources in removed.items():
        verb = "would remove" if dry_run else "removed"
        whole = f"{verb} the environment ({item.why})" if item.whole else f"{verb} what was {item.why}"
        _say(f"{item.environment.branch}: {whole}", resources, f"{item.environment.branch}: {whole}")
    if not removed:
        click.echo("nothing to remove")


def _abouts(platform: Platform, wanted: list[EnvironmentId]) -> dict[EnvironmentId, About]:
    """What may be said of each that is still there."""
    found = [platform.engine.find(wanted[0])] if len(wanted) == 1 else platform.engine.environments()
    return {each.id: of_environment(each) for each in found if each is not None and each.id in wanted}


def _json(environment: EnvironmentId, resources: tuple[str, ...]) -> JSON:
    branch = labels.branch_value(environment.branch)
    return {"project": environment.project, "branch": branch, "removed": list(resources)}


def _say_what_there_is(platform: Platform, environment: EnvironmentId) -> None:
    """A branch that had nothing is no error, but its name may be mistyped."""
    from branchline import lifecycle

    try:
        lifecycle.require(platform, environment)
    except NotFoundError as error:
        hang("  ", error.remedy, err=True)


def _branches(
    source: Source | None, project: str | None, forge_branches: ForgeBranches, *, any_repository: bool
) -> Branches:
    """The repository's branches, for the environments of the project that come from it, or from any of that name.

    Their forges are asked about the others, and about forks' pull requests, which git doesn't know to be open.
    """

    def branches(environment: Environment) -> frozenset[str] | None:
        from branchline import lifecycle

        mine = source is not None and environment.id.project == project
        mine = mine and (any_repository or (source is not None and lifecycle.comes_from(environment, source.url)))
        if source is not None and mine and not environment.id.branch.startswith(forks.PREFIX):
            return source.branches()
        return forge_branches(environment)

    return branches


def _say_what_comes_from_elsewhere(platform: Platform, project: str, source: Source) -> None:
    """Two repositories of one name must not reap each other's environments."""
    from branchline import lifecycle

    found = [item for item in platform.engine.environments(project) if not lifecycle.comes_from(item, source.url)]
    if found:
        others = ", ".join(sorted({item.repository for item in found}))
        click.echo(f"left alone: {len(found)} of {project} that come from {printable(others)}", err=True)
        hang("  ", f"if that is this repository by another name: branchline reap --project {project}", err=True)


def _say(title: str, resources: tuple[str, ...], otherwise: str) -> None:
    click.echo(paint(title if resources else otherwise, bold=True))
    for resource in resources:
        click.echo(paint(f"  {resource}"))
