"""What becomes of a delivery: what it is answered, whose branch it is about, and whether that is gone at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from branchline import reception
from branchline.cancellation import Cancellation
from branchline.environment import Environment, EnvironmentId, State
from branchline.errors import BranchlineError, EngineError
from branchline.events import Event, Publish, Removed
from branchline.forges import pinging
from branchline.forges.api.github import GitHub
from branchline.forges.refusals import UnauthorisedError
from branchline.ports import Change, Holdings
from branchline.reception import Removal, Reply
from branchline.webhooks import Delivery
from tests.forge_payloads import branch_deleted, branch_pushed, sample, signed
from tests.forge_stand_ins.github import GitHubStandIn

SECRET, REPOSITORY = "not-to-be-seen-0123456789", "https://forge.example/team/shop.git"


def answer(forge: str, event: str, payload: Any, *, label: str = "", secret: str = SECRET) -> Reply:
    headers, body = signed(forge, event, payload, secret)
    return reception.answer(forge, Delivery(headers, body), (SECRET,), platform="team", fork_label=label, door="a test")


# What is answered


def test_a_ping_is_answered_with_who_is_there() -> None:
    headers, body = pinging.ping(SECRET)
    reply = reception.answer(
        pinging.FORGE, Delivery(headers, body), ("newer", SECRET), platform="team", fork_label="", door="a test"
    )
    assert (reply.status, reply.removals) == (200, ())
    delivery = headers["x-github-delivery"]
    assert reply.said == {"status": "pong", "platform": "team", "door": "a test", "delivery": delivery}


@pytest.mark.parametrize("forge", ["github", "gitlab", "bitbucket", "gitea"])
def test_a_deletion_is_accepted_and_is_what_there_is_to_do(forge: str) -> None:
    reply = answer(forge, *branch_deleted(forge, "feature/login", REPOSITORY))
    (removal,) = reply.removals
    assert (removal.forge, removal.branch, REPOSITORY in removal.repository) == (forge, "feature/login", True)
    assert reply.status == 202
    assert reply.said == {"status": "accepted", "removing": ["feature/login"], "delivery": removal.delivery}
    assert removal.delivery


def test_several_deletions_in_one_delivery_are_several_things_to_do() -> None:
    event, payload = branch_deleted("bitbucket", "one", REPOSITORY)
    _, other = branch_deleted("bitbucket", "two", REPOSITORY)
    payload["push"]["changes"] += other["push"]["changes"]
    reply = answer("bitbucket", event, payload)
    assert [removal.branch for removal in reply.removals] == reply.said["removing"] == ["one", "two"]


@pytest.mark.parametrize("forge", ["github", "gitlab", "bitbucket", "gitea"])
def test_a_push_is_answered_and_nothing_is_to_do(forge: str) -> None:
    reply = answer(forge, *branch_pushed(forge, "main", "a" * 40, REPOSITORY))
    assert (reply.status, reply.removals) == (202, ())
    assert (reply.said["status"], reply.said["reason"]) == ("ignored", "pushes are deployed by CI")


def test_a_wrong_signature_is_told_nothing_more() -> None:
    reply = answer("github", *branch_deleted("github", "main", REPOSITORY), secret="guessed")
    assert reply == Reply(UnauthorisedError.status, {"error": "unauthorised"})


def test_what_is_refused_is_told_why_but_only_once_it_is_authentic() -> None:
    assert answer("github", "delete", {"ref": "main"}).status == 400
    assert answer("github", "delete", {"ref": "main"}, secret="guessed").status == 401
    assert answer("gitea", "delete", [1]).said == {"error": "the payload is not an object"}
    delivery = Delivery(*signed("github", "ping", {}, SECRET))
    asked = reception.answer("svn", delivery, (SECRET,), platform="team", fork_label="", door="a test")
    assert (asked.status, asked.said) == (404, {"error": "no such forge"})


# Pull requests: only those of forks have an environment of their own


def pull_request(action: str, *, fork: bool, **more: Any) -> dict[str, Any]:
    payload = sample("github", "pull_request_opened") | {"action": action, **more}
    payload["repository"] |= {"clone_url": REPOSITORY, "ssh_url": None}
    base = payload["pull_request"]["base"]["repo"]["id"]
    payload["pull_request"]["head"]["repo"] = {"id": base + 1 if fork else base}
    payload["pull_request"] |= {"number": 12}
    return payload


def test_a_forks_pull_request_that_is_closed_takes_its_environment_with_it() -> None:
    reply = answer("github", "pull_request", pull_request("closed", fork=True))
    assert [removal.branch for removal in reply.removals] == ["pull/12"]


def test_a_deleted_forks_does_too() -> None:
    payload = pull_request("closed", fork=True)
    payload["pull_request"]["head"]["repo"] = None
    assert [removal.branch for removal in answer("github", "pull_request", payload).removals] == ["pull/12"]


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "closed"])
def test_ones_own_pull_request_removes_nothing(action: str) -> None:
    """Its branch may live on, and its environment with it."""
    reply = answer("github", "pull_request", pull_request(action, fork=False))
    assert reply.removals == ()
    assert reply.said["reason"] == "an environment lives as long as its branch, whatever becomes of a pull request"


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened"])
def test_a_fork_is_told_that_its_commits_are_not_deployed(action: str) -> None:
    reply = answer("github", "pull_request", pull_request(action, fork=True), label="preview")
    assert (reply.removals, reply.said["reason"]) == ((), "a fork's commits are not deployed by themselves")


def test_the_label_allows_one_commit_which_ci_deploys() -> None:
    given = pull_request("labeled", fork=True, label={"name": "preview"})
    commit = given["pull_request"]["head"]["sha"][:12]
    said = answer("github", "pull_request", given, label="preview").said
    assert said["reason"] == f"the commit {commit} of a fork may be deployed, and CI does that"
    others = answer("github", "pull_request", given, label="other"), answer("github", "pull_request", given)
    assert {reply.said["reason"] for reply in others} == {"a fork's commits are not deployed by themselves"}


# Whose environments these are, and whether they go


@dataclass
class Memory:
    """A platform that is kept in memory: its environments, and each has one resource."""

    held: dict[EnvironmentId, Environment] = field(default_factory=dict[EnvironmentId, Environment])
    broken: set[str] = field(default_factory=set[str])
    """Projects whose environments can't be removed."""
    turns: int = 0

    def has(self, project: str, branch: str, repository: str = REPOSITORY) -> None:
        owner = EnvironmentId("team", project, branch)
        self.held[owner] = Environment(
            owner, "host.test", "https://host.test", State.READY, datetime.now(UTC), repository=repository
        )

    @property
    def left(self) -> list[str]:
        return sorted(f"{each.project}/{each.branch}" for each in self.held)

    def environments(self, project: str | None = None) -> list[Environment]:
        return [each for each in self.held.values() if project in (None, each.id.project)]

    def find(self, environment: EnvironmentId) -> Environment | None:
        return self.held.get(environment)

    def destroy(self, environment: EnvironmentId) -> list[str]:
        if environment.project in self.broken:
            raise EngineError(f"can't remove {environment.project}")
        return ["container"] if self.held.pop(environment, None) else []

    def leftovers(self) -> dict[EnvironmentId, list[str]]:
        return {}

    def sweep(self, environment: EnvironmentId) -> list[str]:
        return []

    def projects(self) -> frozenset[str]:
        return frozenset(each.project for each in self.held)

    def prune(self, project: str) -> list[str]:
        return []

    @contextmanager
    def turn(self, change: Change, cancellation: Cancellation, publish: Publish) -> Iterator[None]:
        self.turns += 1
        yield

    @contextmanager
    def slot(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> Iterator[None]:
        yield


@dataclass
class Platform:
    """The platform, and what was told of it."""

    memory: Memory = field(default_factory=Memory)
    told: list[Event] = field(default_factory=list[Event])

    def remove(
        self, *repository: str, branch: str = "main", forge: GitHub | None = None, within: float = 30
    ) -> dict[str, tuple[str, ...]] | None:
        """Removes the branch of the repository that has these URLs."""
        holdings = Holdings("team", self.memory, self.memory, self.memory)
        removal = Removal("github", repository or (REPOSITORY,), branch, "delivery-1")
        cancellation = Cancellation()
        with cancellation.deadline(within):
            return reception.remove(holdings, removal, forge, lambda _: self.told.append, cancellation)


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubStandIn]:
    """A forge that says at once what it says."""
    monkeypatch.setattr(reception, "_BETWEEN_LOOKS", 0.01)
    with GitHubStandIn() as stand_in:
        yield stand_in
        assert stand_in.wrong == []


@pytest.mark.parametrize(
    "url",
    [
        REPOSITORY,
        "https://forge.example/team/shop",
        "https://ci:token@forge.example/team/shop.git",
        "https://Forge.Example/Team/Shop",
        "ssh://git@forge.example:22/team/shop.git",
        "git@forge.example:team/shop.git",
    ],
)
def test_a_repository_is_known_by_any_of_its_urls(platform: Platform, url: str) -> None:
    platform.memory.has("shop", "main", url)
    assert platform.remove() == {"shop": ("container",)}
    platform.memory.has("shop", "main")
    assert platform.remove("https://elsewhere.example/mirror.git", url) == {"shop": ("container",)}


@pytest.mark.parametrize(
    "url",
    [
        "https://forge.example/other/shop.git",
        "https://other.example/team/shop.git",
        "https://forge.example/team/shop/sub.git",
        "https://forge.example/team/shop2.git",
    ],
)
def test_another_repositorys_branch_of_that_name_is_left_alone(platform: Platform, url: str) -> None:
    platform.memory.has("shop", "main")
    assert platform.remove(url) == {}
    assert (platform.memory.left, platform.told) == (["shop/main"], [])


def test_only_that_branch_goes_whatever_it_looks_like(platform: Platform) -> None:
    for branch in ("main", "Main", "main2", "feature/main"):
        platform.memory.has("shop", branch)
    platform.remove()
    assert platform.memory.left == ["shop/Main", "shop/feature/main", "shop/main2"]


def test_all_projects_of_the_repository_lose_the_branch_and_each_is_told_of(platform: Platform) -> None:
    for project in ("shop", "docs"):
        platform.memory.has(project, "main")
    platform.memory.has("other", "main", "https://forge.example/team/other.git")
    assert platform.remove() == {"shop": ("container",), "docs": ("container",)}
    assert platform.memory.left == ["other/main"]
    assert [(each.why, each.delivery) for each in platform.told if isinstance(each, Removed)] == [
        ("its branch was deleted", "delivery-1")
    ] * 2


def test_one_that_cannot_be_removed_keeps_none_of_the_others(platform: Platform) -> None:
    for project in ("first", "second"):
        platform.memory.has(project, "main")
    platform.memory.broken.add("first")
    with pytest.raises(EngineError, match="can't remove first"):
        platform.remove()
    assert platform.memory.left == ["first/main"]
    platform.memory.broken.clear()
    assert platform.remove() == {"first": ("container",)}


@pytest.mark.parametrize(("project", "goes"), [("shop", True), ("docs", False)])
def test_where_it_is_not_known_what_it_comes_from_the_project_is_called_as_the_repository(
    platform: Platform, project: str, goes: bool
) -> None:
    platform.memory.has(project, "main", "")
    platform.remove("https://forge.example/team/Shop.git")
    assert (platform.memory.left == []) is goes


def test_what_is_gone_is_no_error_and_nobodys_turn_is_taken(platform: Platform) -> None:
    assert platform.remove() == {}
    assert platform.memory.turns == 0


def test_a_branch_that_the_forge_has_is_left_alone_however_old_the_delivery(
    platform: Platform, github: GitHubStandIn
) -> None:
    platform.memory.has("shop", "main", github.repository)
    forge = GitHub(github.url, github.token)
    assert platform.remove(github.repository, forge=forge) is None
    assert github.asked("git/ref") == 3
    github.branches.remove("main")
    assert platform.remove(github.repository, forge=forge) == {"shop": ("container",)}


def test_a_forge_that_only_notices_later_is_believed_then(platform: Platform, github: GitHubStandIn) -> None:
    platform.memory.has("shop", "main", github.repository)
    answer_as_before = github.answer

    def later(request: Any) -> Any:
        if github.asked("git/ref") == 2 and "main" in github.branches:
            github.branches.remove("main")
        return answer_as_before(request)

    github.answer = later
    assert platform.remove(github.repository, forge=GitHub(github.url, github.token)) == {"shop": ("container",)}


def test_a_forge_that_cannot_be_asked_has_signed_and_that_is_enough(platform: Platform, github: GitHubStandIn) -> None:
    platform.memory.has("shop", "main", github.repository)
    forge = GitHub(github.url, "revoked")
    assert platform.remove(github.repository, forge=forge) == {"shop": ("container",)}


def test_a_forks_environment_stays_while_its_pull_request_is_open(platform: Platform, github: GitHubStandIn) -> None:
    platform.memory.has("shop", "pull/12", github.repository)
    forge = GitHub(github.url, github.token)
    github.open(12, "main", fork=True)
    assert platform.remove(github.repository, branch="pull/12", forge=forge) is None
    github.pulls[12].open = False
    assert platform.remove(github.repository, branch="pull/12", forge=forge) == {"shop": ("container",)}
    (removed,) = platform.told
    assert isinstance(removed, Removed)
    assert removed.why == "its pull request was closed"


def test_whose_time_is_up_does_not_go_on_asking(platform: Platform, github: GitHubStandIn) -> None:
    """What a forge would have said isn't known then, so nothing is removed."""
    platform.memory.has("shop", "main", github.repository)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reception, "_BETWEEN_LOOKS", 30.0)
        with pytest.raises(BranchlineError, match="not done within"):
            platform.remove(github.repository, forge=GitHub(github.url, github.token), within=0.1)
    assert platform.memory.left == ["shop/main"]


@pytest.mark.parametrize("order", [("deleted", "pushed", "deleted"), ("pushed", "deleted", "deleted")])
def test_deliveries_in_any_order_end_with_what_the_forge_has(
    platform: Platform, github: GitHubStandIn, order: tuple[str, ...]
) -> None:
    """A branch that was deleted and made again, and whose deliveries come as they come."""
    platform.memory.has("shop", "main", github.repository)
    say: dict[str, Callable[..., tuple[str, dict[str, Any]]]] = {
        "deleted": lambda: branch_deleted("github", "main", github.repository),
        "pushed": lambda: branch_pushed("github", "main", "a" * 40, github.repository),
    }
    forge = GitHub(github.url, github.token)
    for what in order:
        for removal in answer("github", *say[what]()).removals:
            platform.remove(*removal.repository, branch=removal.branch, forge=forge)
    assert platform.memory.left == ["shop/main"]
    github.branches.remove("main")
    platform.remove(github.repository, forge=forge)
    assert platform.memory.left == []
