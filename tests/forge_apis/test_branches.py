"""What exists on a forge: told whole or not at all, since what is missing is taken for deleted."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from branchline.environment import Environment, EnvironmentId, State
from branchline.errors import BranchlineError, ConfigurationError, SourceError
from branchline.forges.api.bitbucket import Bitbucket
from branchline.forges.judging import ForgeBranches
from tests.forge_apis.conftest import Pair, pair_of
from tests.forge_stand_ins.bitbucket import BitbucketStandIn
from tests.forge_stand_ins.gitea import GiteaStandIn
from tests.forge_stand_ins.server import Answer

NAMES = ["feature/login", "fix/#12?x=1&y", "häßlich/日本語", 'say-"hi"', "50%25", "a+b", "refs/heads/x"]


def test_every_branch_of_every_page_is_told(pair: Pair) -> None:
    pair.there.branches = [f"feature/{number}" for number in range(250)]
    assert pair.forge.branches(pair.there.repository) == set(pair.there.branches)


def test_no_branch_is_lost_where_pages_end(pair: Pair) -> None:
    for count in (1, 29, 30, 31, 50, 99, 100, 101, 200):
        pair.there.branches = [f"b{number}" for number in range(count)]
        assert len(pair.forge.branches(pair.there.repository)) == count


def test_a_page_that_fails_is_an_error_and_not_the_end(pair: Pair) -> None:
    pair.there.branches = [f"b{number}" for number in range(250)]
    for status in (403, 404, 500):
        pair.there.answers = [("branches", Answer(200, first_page(pair))), ("branches", Answer(status, {}))]
        if pair.forge.name != "bitbucket":
            pair.there.answers[0][1].headers["Link"] = '<https://forge.example/?page=2>; rel="next"'
        with pytest.raises(SourceError, match=f"answers {status}"):
            pair.forge.branches(pair.there.repository)


def first_page(pair: Pair) -> object:
    items = [{"name": f"b{number}"} for number in range(100)]
    if pair.forge.name != "bitbucket":
        return items
    return {"values": items, "next": f"{pair.there.url}/2.0/repositories/team/shop/refs/branches?page=2"}


def test_a_full_page_whose_headers_a_proxy_dropped_is_not_the_end(numbered: Pair) -> None:
    numbered.there.branches = [f"b{number}" for number in range(150)]
    numbered.there.answers = [("branches", Answer(200, [{"name": f"b{number}"} for number in range(100)]))]
    assert len(numbered.forge.branches(numbered.there.repository)) == 150


def test_a_list_that_is_shorter_than_it_says_is_an_error(numbered: Pair) -> None:
    numbered.there.answers = [("branches", Answer(200, [{"name": "main"}], {"X-Total-Count": "40"}))]
    with pytest.raises(SourceError, match="1 of 40"):
        numbered.forge.branches(numbered.there.repository)


def test_an_answer_without_branches_is_an_error(pair: Pair) -> None:
    for body in (
        [],
        {},
        {"values": []},
        None,
        "<html>",
        [{}],
        [{"name": None}],
        ["main"],
        [{"name": ""}],
        [{"name": []}],
    ):
        pair.there.refusals = {"branches": Answer(200, body)}
        with pytest.raises(SourceError):
            pair.forge.branches(pair.there.repository)


@pytest.mark.parametrize("name", ["github", "bitbucket"])
def test_a_list_without_an_end_is_an_error(name: str) -> None:
    for pair in pair_of(name):
        pair.there.refusals = {"branches": Answer(200, first_page(pair), {"Link": '<x>; rel="next"'})}
        with pytest.raises(SourceError, match="more than 200 pages"):
            pair.forge.branches(pair.there.repository)


def test_a_repository_that_moved_is_an_error(pair: Pair) -> None:
    asks = (pair.forge.branches, pair.forge.pull_requests, lambda there: pair.forge.has_branch(there, "main"))
    for status, ask in itertools.product((301, 302, 307, 308), asks):
        moved = Answer(status, {"message": "Moved Permanently"}, {"Location": f"{pair.there.url}/elsewhere"})
        pair.there.refusals = {"": moved}
        with pytest.raises(SourceError, match="elsewhere now") as caught:
            ask(pair.there.repository)
        assert "renamed" in caught.value.remedy
    assert pair.there.asked("elsewhere") == 0


def test_a_branch_is_there_until_the_forge_says_otherwise(pair: Pair) -> None:
    pair.there.branches = NAMES
    for name in NAMES:
        assert pair.forge.has_branch(pair.there.repository, name)
    for name in ("feature", "feature/login/x", "login", "main"):
        assert not pair.forge.has_branch(pair.there.repository, name)


def test_a_repository_that_can_not_be_read_says_nothing_of_its_branches(pair: Pair) -> None:
    for repository in (pair.there.repository.replace("shop", "gone"), pair.there.repository.replace("team", "others")):
        with pytest.raises(SourceError, match="404"):
            pair.forge.has_branch(repository, "main")
        with pytest.raises(SourceError, match="404"):
            pair.forge.branches(repository)


def test_another_answer_says_nothing_of_a_branch(pair: Pair) -> None:
    for status in (401, 403, 409, 500, 502):
        pair.there.refusals = {"GET": Answer(status, {"message": "no"}, {"Retry-After": "0"})}
        with pytest.raises(SourceError, match=str(status)):
            pair.forge.has_branch(pair.there.repository, "main")


def test_a_proxys_404_is_not_the_forges(pair: Pair) -> None:
    pair.there.answers = [("feature", Answer(404, "<html>Not Found</html>"))]
    with pytest.raises(SourceError, match="not JSON"):
        pair.forge.has_branch(pair.there.repository, "feature/login")


def test_open_pull_requests_are_told_with_those_of_forks(pair: Pair) -> None:
    assert pair.forge.pull_requests(pair.there.repository) == frozenset()
    for number in range(1, 121):
        pair.there.open(number, "feature/login", fork=number % 2 == 0, open=number > 5)
    assert pair.forge.pull_requests(pair.there.repository) == set(range(6, 121))
    pair.there.refusals = {"GET": Answer(403, {"message": "no"})}
    with pytest.raises(SourceError):
        pair.forge.pull_requests(pair.there.repository)


def test_a_branch_that_the_list_lost_between_two_pages_is_asked_for() -> None:
    with GiteaStandIn() as there:
        # Another was deleted while the pages were read, and `feature/login` moved to the page that had been read.
        there.answers = [("/branches", Answer(200, [{"name": "main"}]))]
        asked = ForgeBranches({"gitea": {"url": there.url, "token": there.token}})
        assert asked(environment(there, "feature/login")) == {"main", "feature/login"}
        assert asked(environment(there, "feature/gone")) == {"main", "feature/login"}
        assert asked.problems == []


def environment(there: GiteaStandIn, branch: str) -> Environment:
    subject, now = EnvironmentId("default", "shop", branch), datetime.now(UTC)
    return Environment(subject, "", "", State.READY, now, repository=there.repository)


def test_a_token_does_not_follow_a_page_to_another_host() -> None:
    with BitbucketStandIn() as there, GiteaStandIn() as elsewhere:
        there.branches = [f"b{number}" for number in range(150)]
        for base in (elsewhere.url, f"{there.url}/2.0.evil.example", f"{there.url}@evil.example"):
            there.next_base = base
            with pytest.raises(SourceError, match="elsewhere"):
                Bitbucket(f"{there.url}/2.0", there.token).branches(there.repository)
        assert elsewhere.requests == []


def test_no_error_tells_the_token(pair: Pair) -> None:
    assert pair.there.token not in repr(pair.forge)
    for status in (401, 403, 404, 500):
        pair.there.refusals = {"": Answer(status, {"message": "no"})}
        with pytest.raises(BranchlineError) as caught:
            pair.forge.branches(pair.there.repository)
        assert pair.there.token not in f"{caught.value} {caught.value.remedy} {caught.value.__cause__!r}"


def test_another_forges_repository_is_refused_before_it_is_asked(pair: Pair) -> None:
    with pytest.raises(ConfigurationError, match="not a repository on"):
        pair.forge.branches("https://git.example.net/team/shop.git")
    assert pair.there.requests == []
