"""The options that several commands share, and which project and branch they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError, NotFoundError
from branchline.platform import state_directory
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_application, read_platform
from branchline.source import Repository, open_repository

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, in the shape that the manual documents."
)
project_option = click.option("--project", metavar="NAME", help="The project; otherwise the repository's.")
repo_option = click.option("--repo", metavar="PATH_OR_URL", help="The repository; otherwise the one around you.")


def timeout_option(help_text: str) -> Callable[[F], F]:
    """`--timeout`, in seconds."""
    return click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help=help_text)


@dataclass(frozen=True, slots=True)
class Target:
    """What a command is about."""

    settings: PlatformSettings
    environment: EnvironmentId
    repository: Repository | None


def open_source(settings: PlatformSettings, repo: str | None) -> Repository | None:
    """The repository that was named, or the one around the current directory if there is one."""
    cache = state_directory(settings) / "repositories"
    if repo is not None:
        return open_repository(repo, cache)
    try:
        return open_repository(None, cache)
    except NotFoundError:
        return None


def project_of(repository: Repository | None, named: str | None, commit: str | None = None) -> str:
    """The project's name: as given, as the commit's branchline.toml has it, or after the repository.

    Raises:
        ConfigurationError: there is neither a name nor a repository.
    """
    if named:
        return named
    if repository is None:
        raise ConfigurationError(
            "which project? This directory is in no git repository", remedy="give --project NAME, or --repo PATH_OR_URL"
        )
    text = repository.read(commit or "HEAD", "branchline.toml")
    return read_application(text, "branchline.toml").project or repository.project_name()


def target(branch: str | None, project: str | None, repo: str | None = None) -> Target:
    """The environment that a command names, or that of the checked-out branch."""
    settings = read_platform()
    repository = open_source(settings, repo)
    branch = branch or (repository.current_branch() if repository else None)
    if not branch:
        raise ConfigurationError("which branch? None is checked out here", remedy="give the branch's name")
    return Target(settings, EnvironmentId(settings.platform, project_of(repository, project), branch), repository)
