"""Each forge, spoken to by its adapter, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError
from branchline.events import DeployStarted, Event, Failed, Ready, Removed
from branchline.forges.api.bitbucket import Bitbucket
from branchline.forges.api.gitea import Gitea
from branchline.forges.api.github import GitHub
from branchline.forges.api.gitlab import GitLab
from branchline.telling import About, Forge
from tests.forge_stand_ins.bitbucket import BitbucketStandIn
from tests.forge_stand_ins.gitea import GiteaStandIn
from tests.forge_stand_ins.github import GitHubStandIn
from tests.forge_stand_ins.gitlab import GitLabStandIn
from tests.forge_stand_ins.server import COMMITS, StandIn

LOGIN = EnvironmentId("default", "shop", "feature/login")
URL = "https://feature-login--shop.preview.example.com"
LOGS = "https://ci.example.com/jobs/7"
HOOK = "https://hooks.example.com/forge"
SECONDS = {"build": 31.0, "start": 2.1, "healthy": 8.4, "route": 0.1, "total": 42.6}

FORGES: dict[str, tuple[type[StandIn], Callable[[Any], Forge]]] = {
    "github": (GitHubStandIn, lambda there: GitHub(there.url, there.token)),
    "gitlab": (GitLabStandIn, lambda there: GitLab(there.url, there.token)),
    "bitbucket": (BitbucketStandIn, lambda there: Bitbucket(f"{there.url}/2.0", there.token)),
    "gitea": (GiteaStandIn, lambda there: Gitea(there.url, there.token)),
}


@dataclass
class Pair:
    """A forge, and who speaks to it."""

    there: Any
    forge: Forge

    @property
    def about(self) -> About:
        return About(repository=self.there.repository, logs=LOGS)

    def hear(self, *events: Event) -> None:
        for event in events:
            self.forge.hear(event, self.about)

    def complaint(self, event: Event) -> BranchlineError:
        with pytest.raises(BranchlineError) as caught:
            self.hear(event)
        assert self.there.token not in f"{caught.value} {caught.value.remedy} {caught.value!r}"
        return caught.value


def pair_of(name: str) -> Iterator[Pair]:
    stand_in, adapter = FORGES[name]
    with stand_in() as there:
        yield Pair(there, adapter(there))
    assert there.wrong == []


@pytest.fixture(params=FORGES)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Each forge in turn."""
    yield from pair_of(request.param)


@pytest.fixture(params=["github", "gitlab", "gitea"])
def numbered(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Each forge whose pages have numbers; Bitbucket's name the next one in their body."""
    yield from pair_of(request.param)


@pytest.fixture
def github() -> Iterator[Pair]:
    yield from pair_of("github")


@pytest.fixture
def gitlab() -> Iterator[Pair]:
    yield from pair_of("gitlab")


def started(commit: str = COMMITS[0], environment: EnvironmentId = LOGIN) -> DeployStarted:
    return DeployStarted(environment, commit, 1)


def ready(commit: str = COMMITS[0], environment: EnvironmentId = LOGIN, *, unchanged: bool = False) -> Ready:
    return Ready(environment, URL, commit, 1, SECONDS, unchanged=unchanged)


def failed(
    commit: str = COMMITS[0],
    reason: str = "it never became healthy",
    *details: str,
    environment: EnvironmentId = LOGIN,
) -> Failed:
    return Failed(environment, commit, reason, details)


def removed(environment: EnvironmentId = LOGIN, why: str = "its branch was deleted") -> Removed:
    return Removed(environment, ("container", "network"), why)
