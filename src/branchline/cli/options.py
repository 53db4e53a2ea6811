"""The options that several commands share, and which project and branch they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from branchline import labels, naming
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError
from branchline.platform import state_directory
from branchline.settings.application import FILE_NAME
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_application, read_platform

if TYPE_CHECKING:
    from branchline.source import Repository

F = TypeVar("F", bound=Callable[..., Any])
_LONGEST_TIMEOUT = 7 * 24 * 3600

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, in the shape that the manual documents."
)


def _checked_project(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    """Resource names and hosts are made of it, so a wrong one must not get any further."""
    return None if name is None else naming.check_name(name, "project's name", naming.PROJECT_LENGTH)


project_option = click.option(
    "--project", metavar="NAME", callback=_checked_project, help="The project; otherwise the repository's."
)
repo_option = click.option("--repo", metavar="PATH_OR_URL", help="The repository; otherwise the one around you.")


def timeout_option(help_text: str) -> Callable[[F], F]:
    """`--timeout`, in seconds."""
    return click.option("--timeout", metavar="SECONDS", callback=_checked_seconds, help=help_text)


def _checked_seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Any number above 0 for which it is possible to wait, so neither "inf" nor "nan"."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise click.BadParameter(f"expected a number of seconds above 0, such as 90, got {text!r}")
    return seconds


@dataclass(frozen=True, slots=True)
class Target:
    """What a command is about."""

    settings: PlatformSettings
    environment: EnvironmentId


def branch_named(text: str) -> str:
    r"""The branch that an argument means. One that isn't UTF-8 may be given as it is shown, with `\xff` for a byte.

    Raises:
        ConfigurationError: git doesn't allow such a name, for example because a script's variable was empty.
    """
    from branchline.source.git import check_branch

    return check_branch(labels.branch_name(labels.branch_value(text)))


def open_source(settings: PlatformSettings, repo: str | None) -> Repository | None:
    """The repository that was named, or the one around the current directory if there is one."""
    from branchline.source import NoRepositoryError, open_repository

    cache = state_directory(settings) / "repositories"
    if repo is not None:
        return open_repository(repo, cache)
    try:
        return open_repository(None, cache)
    except NoRepositoryError:
        return None


def project_of(repository: Repository | None, named: str | None, commit: str | None = None) -> str:
    """The project's name: as given, as the commit's branchline.toml has it, or after the repository.

    Raises:
        ConfigurationError: there is neither a name nor a repository, or its branchline.toml is wrong.
    """
    if named is not None:
        return named
    if repository is None:
        raise ConfigurationError(
            "which project? This directory is in no git repository", remedy="give --project NAME, or --repo PATH_OR_URL"
        )
    text = repository.read(commit or "HEAD", FILE_NAME)
    try:
        return read_application(text, FILE_NAME).project or repository.project_name()
    except ConfigurationError as error:
        raise ConfigurationError(
            error.message, remedy=f"{error.remedy}; to do without the file's 'project', give --project NAME"
        ) from error


def target(branch: str | None, project: str | None) -> Target:
    """The environment that a command names, or that of the checked-out branch."""
    settings = read_platform()
    if branch is not None:
        branch = branch_named(branch)
        if project is not None:  # then no repository is needed
            return Target(settings, EnvironmentId(settings.platform, project, branch))
    repository = open_source(settings, None)
    if branch is None:
        branch = repository.current_branch() if repository else None
    if branch is None:
        raise ConfigurationError("which branch? None is checked out here", remedy="give the branch's name")
    known = repository is not None and repository.knows(branch)  # the branch may name another project than HEAD does
    commit = repository.resolve(branch) if repository is not None and known else None
    return Target(settings, EnvironmentId(settings.platform, project_of(repository, project, commit), branch))
