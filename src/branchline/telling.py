"""Who is told of what happens, as Protocols: people in Slack and elsewhere, and the forge that a branch is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from branchline.environment import EnvironmentId
from branchline.events import Event


@dataclass(frozen=True, slots=True)
class About:
    """What those who tell people may say of an environment, beside what happened. Empty is: not known."""

    repository: str = ""
    """Where the branch comes from, without credentials."""
    commit: str = ""
    author: str = ""
    """The commit's author, by name."""
    email: str = ""
    """The commit's author, as `slack.people` and the like know people."""
    title: str = ""
    """The first line of the commit's message."""
    logs: str = ""
    """The URL of the CI job's log, or of whatever else shows more."""


class Notifier(Protocol):
    """Tells people, or a forge, what happened."""

    @property
    def name(self) -> str:
        """Such as `slack`, for messages about it."""
        ...

    def hear(self, event: Event, about: About) -> None:
        """Tells of the event, if it is one worth telling. Called for every event in its order, one at a time.

        Raises:
            BranchlineError: it couldn't be told; the message holds no secret.
        """
        ...


class Bookmarks(Protocol):
    """Small values that notifiers keep of an environment, such as where in Slack its thread is."""

    def read(self, environment: EnvironmentId, name: str) -> str:
        """The value, or '' where there is none."""
        ...

    def write(self, environment: EnvironmentId, name: str, value: str) -> None:
        """Keeps the value. Repeatable."""
        ...

    def forget(self, environment: EnvironmentId) -> None:
        """Removes all that is kept of the environment. What is missing is no error."""
        ...


class Forge(Notifier, Protocol):
    """A git host: what exists there, its webhooks, and a place to tell of deploys. A repository is its clone URL."""

    def branches(self, repository: str) -> frozenset[str]:
        """Every branch that exists now, from all pages.

        A branch that is listed while another is deleted may be missed: ask for it by `has_branch` before it is taken
        for deleted.

        Raises:
            SourceError: they can't be read, or there are none, or the repository is elsewhere now. Never read as "all
                branches are gone".
            ConfigurationError: the repository isn't on this forge.
        """
        ...

    def has_branch(self, repository: str, branch: str) -> bool:
        """Whether the branch exists now. False only where the forge says so of a repository that can be read.

        Raises:
            SourceError, ConfigurationError: as `branches`.
        """
        ...

    def pull_requests(self, repository: str) -> frozenset[int]:
        """The numbers of the open pull requests, from all pages.

        Raises:
            SourceError, ConfigurationError: as `branches`. None open is no error.
        """
        ...

    def install_hook(self, repository: str, url: str, secret: str) -> str:
        """Has a webhook with this URL and secret, for pushes, deletions and pull requests. Repeatable.

        Returns:
            `created`, `updated` or `unchanged`. The secret can't be compared, so it is set in any case.

        Raises:
            BranchlineError: the forge refuses, or doesn't answer.
        """
        ...

    def remove_hook(self, repository: str, url: str) -> bool:
        """Removes the webhook with this URL; says whether there was one. Repeatable.

        Raises:
            BranchlineError: the forge refuses, or doesn't answer.
        """
        ...
