"""What all forges have in common: which repository is meant, branches, webhooks, and how a deploy is reported.

A forge's own module says where in its API things are and what they are called there.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast
from urllib.parse import quote

from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, ConfigurationError, SourceError
from branchline.events import DeployStarted, Event, Failed, Ready, Removed
from branchline.forges.api import comment
from branchline.forges.api.location import path_on
from branchline.forges.api.report import Report, report
from branchline.forges.api.rest import Api, Item, at
from branchline.forges.forks import PREFIX
from branchline.telling import About
from branchline.web import WebError

FORK = re.compile(f"{PREFIX}([0-9]+)")
"""The branch of an environment that a fork's pull request has; see `forks`."""
_SECRETS = frozenset({"secret", "token"})
"""What a forge doesn't tell of a webhook."""
_HOPELESS = (0, 401)
"""No answer, or a token that isn't one: what is left to tell would fail alike, and take its time."""

_NOT_OURS = (403, 404)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request, on GitLab a merge request, as far as we need to know it."""

    number: int
    branch: str
    own: bool
    """Whether its branch is of this repository, and not of a fork."""


class RestForge(ABC):
    """A forge with a REST API, as `telling.Forge` has it."""

    marker: ClassVar[str] = "<!-- branchline:{} -->"
    """How a comment holds what its readers don't see."""
    edit: ClassVar[str] = "PATCH"
    """The method that changes a webhook or a comment."""

    # Where things are, and what they are called: for each forge to say.

    @property
    @abstractmethod
    def name(self) -> str:
        """As the settings call it."""

    @property
    @abstractmethod
    def home(self) -> str:
        """The forge's URL, as repositories have it."""

    @abstractmethod
    def api(self, path: str, /) -> Api:
        """The API, with a token for the repository at this path."""

    @abstractmethod
    def repository_at(self, path: str) -> str:
        """Where in the API the repository is."""

    @abstractmethod
    def branch_names(self, api: Api, path: str) -> Iterator[object]:
        """Every branch."""

    @abstractmethod
    def branch_at(self, path: str, branch: str) -> str:
        """Where in the API the branch is."""

    @abstractmethod
    def hooks(self, api: Api, path: str) -> Iterator[tuple[str, Item]]:
        """Every webhook: its URL, and what the forge says of it."""

    @abstractmethod
    def hook(self, url: str, secret: str) -> Item:
        """How a webhook of ours is made."""

    @abstractmethod
    def hook_at(self, path: str, hook: Item) -> str:
        """Where in the API the webhook is."""

    @abstractmethod
    def listed(self, api: Api, path: str, branch: str, /, *, closed: bool) -> Iterator[Item]:
        """The open pull requests, and with `closed` the others too: at least those of the branch, if it isn't ''."""

    @abstractmethod
    def pull_at(self, path: str, number: int) -> str:
        """Where in the API the pull request is."""

    @abstractmethod
    def pull_request(self, item: Item, path: str, /) -> PullRequest:
        """What the forge says of a pull request of the repository at this path."""

    @abstractmethod
    def comments(self, api: Api, path: str, number: int) -> Iterator[tuple[str, str]]:
        """Every comment on a pull request: where in the API it is, and its text."""

    @abstractmethod
    def comments_at(self, path: str, number: int) -> str:
        """Where in the API a comment on the pull request is made."""

    def written(self, text: str) -> Item:
        """How a comment's text is sent."""
        return {"body": text}

    @abstractmethod
    def set_status(self, api: Api, path: str, report: Report) -> None:
        """Sets the commit's status. Repeatable."""

    @abstractmethod
    def set_deployment(self, api: Api, path: str, report: Report) -> None:
        """Tells the forge's list of deployments, where it has one. Repeatable."""

    @abstractmethod
    def retire(self, api: Api, path: str, environment: EnvironmentId) -> None:
        """Tells the forge's list of deployments that the environment is gone. Repeatable."""

    # ports.Forge

    def branches(self, repository: str) -> frozenset[str]:
        """Every branch that exists now."""
        with _reading("branches", repository):
            path = self._path(repository)
            names = list(self.branch_names(self.api(path), path))
        found = frozenset(name for name in names if isinstance(name, str) and name)
        if not found or not all(isinstance(name, str) and name for name in names):
            raise SourceError(
                f"{self.name} names no branches of {repository}" if not found else f"{self.name} names branches oddly",
                remedy="check the token, and what it may see; nothing is taken for deleted",
            )
        return found

    def has_branch(self, repository: str, branch: str) -> bool:
        """Whether the branch exists now. A repository that can't be read is an error, not a "no"."""
        with _reading("branches", repository):
            path = self._path(repository)
            api = self.api(path)
            answer = api.ask("GET", self.branch_at(path, branch), accept=(404,))
            if answer.status != 404:
                return True
            api.object(answer)  # the forge itself answers so; what a proxy says in its place is a page of HTML
            api.get(self.repository_at(path))  # without the right to read it, everything is 404
            return False

    def pull_requests(self, repository: str) -> frozenset[int]:
        """The numbers of the open pull requests."""
        with _reading("pull requests", repository):
            path = self._path(repository)
            items = self.listed(self.api(path), path, "", closed=False)
            return frozenset(self.pull_request(item, path).number for item in items)

    def install_hook(self, repository: str, url: str, secret: str) -> str:
        """Makes or updates the webhook that has this URL; says `created`, `updated` or `unchanged`.

        Its secret is set in any case, since no forge tells what it is now.
        """
        if not secret:
            raise ConfigurationError("a webhook needs a secret", remedy="without one, anybody could send deliveries")
        path = self._path(repository)
        api, wanted = self.api(path), self.hook(url, secret)
        for there, hook in self.hooks(api, path):
            if there == url:
                api.ask(self.edit, self.hook_at(path, hook), wanted)
                return "unchanged" if _holds(hook, wanted) else "updated"
        api.ask("POST", f"{self.repository_at(path)}/hooks", wanted)
        return "created"

    def remove_hook(self, repository: str, url: str) -> bool:
        """Removes every webhook that has this URL; says whether there was one."""
        path = self._path(repository)
        api = self.api(path)
        ours = [hook for there, hook in self.hooks(api, path) if there == url]
        for hook in ours:
            api.ask("DELETE", self.hook_at(path, hook), accept=(404,))
        return bool(ours)

    # ports.Notifier

    def hear(self, event: Event, about: About) -> None:
        """Tells of a deploy's beginning and end, and of a removal, on the commit and on its pull requests."""
        if not about.repository or not isinstance(event, DeployStarted | Ready | Failed | Removed):
            return
        if isinstance(event, Removed) and not event.resources:
            return  # it has been gone for long, and that was told then
        path = self._path(about.repository)
        api = self.api(path)
        if isinstance(event, Removed):
            steps = [
                ("deployment", lambda: self.retire(api, path, event.environment)),
                ("comment", lambda: self._comment(api, path, event.environment, comment.removed(event), anew=False)),
            ]
        else:
            told = report(event, about)
            steps = [
                ("commit status", lambda: self.set_status(api, path, told)),
                ("deployment", lambda: self.set_deployment(api, path, told)),
            ]
            if not isinstance(event, DeployStarted):
                text = comment.ready(event, about) if isinstance(event, Ready) else comment.failed(event, about)
                steps.append(("comment", lambda: self._comment(api, path, event.environment, text, anew=True)))
        _all(steps)

    def _comment(self, api: Api, path: str, environment: EnvironmentId, text: str, *, anew: bool) -> None:
        """Puts the text in place of our comment on each of the branch's pull requests, or writes one if it may."""
        marks = comment.markers(environment, self.marker)
        for number in self._numbers(api, path, environment.branch, closed=not anew):
            if not self._edited(api, path, number, marks, text) and anew:
                api.ask("POST", self.comments_at(path, number), self.written(f"{marks[0]}\n\n{text}"))

    def _edited(self, api: Api, path: str, number: int, marks: tuple[str, ...], text: str) -> bool:
        """Whether our comment was there. Somebody else's may begin like it, but can't be edited."""
        for place, present in self.comments(api, path, number):
            mark = next((mark for mark in marks if present.startswith(mark)), "")
            if not mark:
                continue
            answer = api.ask(self.edit, place, self.written(f"{mark}\n\n{text}"), accept=_NOT_OURS)
            if answer.status not in _NOT_OURS:
                return True
        return False

    def _numbers(self, api: Api, path: str, branch: str, *, closed: bool) -> list[int]:
        """The branch's own pull requests, or the fork's one that the environment is for."""
        items = self.listed(api, path, branch, closed=closed)
        all_ = [self.pull_request(item, path) for item in items]
        numbers = {found.number for found in all_ if found.own and found.branch == branch}
        of_fork = FORK.fullmatch(branch)
        if of_fork:
            answer = api.ask("GET", self.pull_at(path, int(of_fork[1])), accept=(404,))
            if answer.status != 404:
                found = self.pull_request(api.object(answer), path)
                numbers |= set() if found.own else {found.number}
        return sorted(numbers)

    def _path(self, repository: str) -> str:
        path = path_on(repository, self.home)
        if not path:
            raise ConfigurationError(f"{repository} is not a repository on {self.home}")
        return path


def escaped(text: str, *, slashes: bool = True) -> str:
    """The text as a part of a URL's path; its slashes stay, unless the forge wants them encoded.

    A branch's name that isn't UTF-8 has lone surrogates in place of its bytes.
    """
    return quote(text, safe="/" if slashes else "", errors="surrogateescape")


def number_of(value: Any, what: str) -> int:
    """A number that a forge gives.

    Raises:
        WebError: it is none.
    """
    if not isinstance(value, int):
        raise WebError(f"the forge's answer has no {what}")
    return value


@contextmanager
def _reading(what: str, repository: str) -> Generator[None]:
    """Within the block, what the forge doesn't tell is an error of the source, as if git could not be asked."""
    try:
        yield
    except WebError as error:
        raise SourceError(f"can't list the {what} of {repository}: {error.message}", remedy=error.remedy) from error


def _all(steps: list[tuple[str, Callable[[], None]]]) -> None:
    """Does each, although another failed: a token may be allowed the one and not the other."""
    failures: list[tuple[str, BranchlineError]] = []
    for what, step in steps:
        try:
            step()
        except BranchlineError as error:
            failures.append((what, error))
            if isinstance(error, WebError) and error.status in _HOPELESS:
                break
    if failures:
        text = "; ".join(f"{what}: {error.message}" for what, error in failures)
        raise WebError(text, remedy=failures[0][1].remedy)


def _holds(present: object, wanted: object) -> bool:
    """Whether a webhook is as it would be made, as far as the forge tells. It may have more events."""
    if isinstance(wanted, dict):
        items = cast("Item", wanted).items()
        return all(_holds(at(present, key), value) for key, value in items if key not in _SECRETS)
    if isinstance(wanted, list):
        return isinstance(present, list) and set(cast("list[str]", wanted)) <= set(cast("list[str]", present))
    return present == wanted
