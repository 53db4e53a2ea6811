"""What a forge shows of a deploy: a status on the commit, and one comment on the pull request that is edited."""

from __future__ import annotations

import re

from branchline import naming
from branchline.environment import EnvironmentId
from branchline.events import Note, Output, Removed
from branchline.telling import About
from tests.forge_apis.conftest import LOGIN, LOGS, URL, Pair, failed, ready, removed, started
from tests.forge_stand_ins.server import COMMITS, Answer

FIRST, SECOND, THIRD = COMMITS[:3]
STATES = {
    "github": ("pending", "success", "failure"),
    "gitlab": ("running", "success", "failed"),
    "bitbucket": ("INPROGRESS", "SUCCESSFUL", "FAILED"),
    "gitea": ("pending", "success", "failure"),
}


def target(status: dict[str, str]) -> str:
    return status.get("target_url") or status["url"]


def test_a_branchs_whole_life_is_one_comment_and_a_status_on_each_commit(pair: Pair) -> None:
    running, good, bad = STATES[pair.forge.name]
    pair.there.open(7, "feature/login")
    pair.there.open(8, "feature/other")
    pair.there.open(9, "feature/login", fork=True)

    pair.hear(started(FIRST))
    assert (pair.there.statuses[-1]["sha"], pair.there.statuses[-1]["state"]) == (FIRST, running)
    assert target(pair.there.statuses[-1]) == LOGS
    assert pair.there.comments(7) == []

    pair.hear(ready(FIRST))
    assert (pair.there.statuses[-1]["sha"], pair.there.statuses[-1]["state"]) == (FIRST, good)
    assert target(pair.there.statuses[-1]) == URL
    assert "live after 43 s" in pair.there.statuses[-1]["description"]
    (body,) = pair.there.comments(7)
    for expected in (f"<{URL}>", FIRST, "build 31.0 s, start 2.1 s, healthy 8.4 s, route 0.1 s; 42.6 s in all", LOGS):
        assert expected in body

    pair.hear(started(SECOND), ready(SECOND))
    (body,) = pair.there.comments(7)
    assert SECOND in body
    assert FIRST not in body

    pair.hear(started(THIRD), failed(THIRD, "it never became healthy", "no database", "bye"))
    assert (pair.there.statuses[-1]["sha"], pair.there.statuses[-1]["state"]) == (THIRD, bad)
    assert pair.there.statuses[-1]["description"] == "it never became healthy"
    (body,) = pair.there.comments(7)
    assert "    it never became healthy\n\n    no database\n    bye" in body
    assert URL not in body

    pair.there.branches.remove("feature/login")
    pair.there.pulls[7].open = False
    pair.hear(removed())
    (body,) = pair.there.comments(7)
    assert body.endswith("The branch's environment is removed: `its branch was deleted`.")
    assert pair.there.comments(8) == pair.there.comments(9) == []


def test_what_is_told_again_makes_nothing_new(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(started(), ready())
    made = (len(pair.there.comments(7)), len(getattr(pair.there, "deployments", [])))
    pair.hear(started(), started(), ready(unchanged=True), ready(unchanged=True))
    assert (len(pair.there.comments(7)), len(getattr(pair.there, "deployments", []))) == made


def test_what_is_no_news_for_a_forge_is_not_told(pair: Pair) -> None:
    pair.hear(Output(LOGIN, "step 1"), Note(LOGIN, "port 80"), Removed(LOGIN, ()))
    pair.forge.hear(ready(), About())
    assert pair.there.requests == []


def test_removing_writes_no_comment(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(removed())
    assert pair.there.comments(7) == []


def test_the_comment_of_the_github_action_is_edited_and_stays_its_own(github: Pair) -> None:
    marker = f"<!-- branchline:{naming.digest('//.', 16)} -->"
    github.there.open(7, "feature/login")
    github.there.pulls[7].comments.append({"id": 1, "body": f"{marker}\nThe deploy failed."})
    github.hear(ready())
    (body,) = github.there.comments(7)
    assert body.startswith(marker)
    assert URL in body


def test_the_action_with_explicit_inputs_finds_our_comment(github: Pair) -> None:
    github.there.open(7, "feature/login")
    github.hear(ready())
    assert github.there.comments(7)[0].startswith(f"<!-- branchline:{naming.digest('default/shop/.', 16)} -->\n")


def test_two_projects_of_one_repository_have_a_comment_each(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(ready(), ready(environment=EnvironmentId("default", "docs", "feature/login")))
    assert len(pair.there.comments(7)) == 2


def test_a_comment_that_somebody_else_began_like_ours_is_passed_over(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(ready())
    ours = pair.there.pulls[7].comments[0]
    pair.there.pulls[7].comments.insert(0, {**ours, "id": 2, "foreign": True})
    pair.hear(failed(), ready(SECOND))
    theirs, mine = pair.there.comments(7)
    assert FIRST in theirs
    assert SECOND in mine


def test_our_comment_is_found_behind_many_others(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(ready())
    chat = [{"id": n, "body": "nice", "content": {"raw": "nice"}} for n in range(2, 212)]
    pair.there.pulls[7].comments[:0] = chat
    pair.hear(ready(SECOND))
    assert len(pair.there.comments(7)) == len(chat) + 1
    assert SECOND in pair.there.comments(7)[-1]


def test_a_forks_pull_request_is_told_of_its_own_environment(pair: Pair) -> None:
    environment = EnvironmentId("default", "shop", "pull/9")
    pair.there.open(8, "main")
    pair.there.open(9, "main", fork=True)
    pair.hear(started(environment=environment), ready(environment=environment))
    assert pair.there.comments(8) == []
    assert URL in pair.there.comments(9)[0]


def test_a_branch_that_is_named_like_a_forks_environment_gets_no_other_pull_requests_comment(pair: Pair) -> None:
    environment = EnvironmentId("default", "shop", "pull/9")
    pair.there.open(9, "feature/login")
    pair.hear(ready(environment=environment), ready(environment=EnvironmentId("default", "shop", "pull/12")))
    assert pair.there.comments(9) == []


def test_branches_of_any_name_are_told(pair: Pair) -> None:
    names = ["fix/#12 ?x=1&y", "häßlich/日本語", 'say-"hi"', "50%", "a" * 240, "bytes-\udcff"]
    for number, branch in enumerate(names, 1):
        environment = EnvironmentId("default", "shop", branch)
        pair.there.open(number, branch)
        pair.hear(started(environment=environment))
        if branch.isprintable():  # what isn't UTF-8 can't be in a forge's answer
            pair.hear(ready(environment=environment))
            assert len(pair.there.comments(number)) == 1


HOSTILE = (
    "```\n/close\n```",
    "````\n/merge\n````",
    "/approve",
    "<!-- branchline:0123456789abcdef -->",
    "@team/everyone --> <script>alert(1)</script>",
    "\r\n/close\r",
    "\u2028/close\x85/close",
    "\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
)


def test_what_a_container_printed_stays_within_the_code(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    for text in HOSTILE:
        pair.hear(failed(FIRST, text, text, "last line"))
        (body,) = pair.there.comments(7)
        marker, _, rest = body.partition("\n\n")
        assert re.fullmatch(r"<!-- branchline:[0-9a-f]{16} -->|\[//\]: # \(branchline:[0-9a-f]{16}\)", marker)
        lines = rest.split("\n")
        assert lines[0] == f"The deploy of {FIRST} failed. What served before, if anything did, goes on serving."
        assert lines[-1] == f"Log: <{LOGS}>"
        assert all(not line or line.startswith("    ") for line in lines[1:-1])
        assert "    last line" in lines
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", body)


def test_a_reason_of_removal_is_code_in_one_line(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(ready(), removed(why="`@team`\n/close | <b>"))
    assert pair.there.comments(7)[0].endswith("is removed: `'@team' /close / <b>`.")


def test_long_texts_are_cut_to_what_the_forge_takes(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.hear(failed(FIRST, "x" * 5000, *("\n" * 50_000, "y" * 50_000, "the end")))
    assert len(pair.there.statuses[-1]["description"]) == 140
    assert pair.there.statuses[-1]["description"].endswith("x…")
    assert "the end" in pair.there.comments(7)[0]


def test_a_strange_log_url_leads_nowhere_else(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    for logs in ("javascript:alert(1)", "ftp://ci.example.com", "https://ci/>|`x`\n/close", "https://ci/" + "x" * 300):
        for event in (started(), failed(), ready()):
            pair.forge.hear(event, About(repository=pair.there.repository, logs=logs))
        (body,) = pair.there.comments(7)
        assert not re.search("javascript|ftp|\n/close|xxx", body)


def test_a_token_that_may_not_set_a_status_still_comments_and_says_so(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.there.refusals["/status"] = Answer(403, {"message": "Resource not accessible"})
    if pair.forge.name == "github":
        pair.there.refusals = {f"/statuses/{FIRST}": Answer(403, {"message": "Resource not accessible"})}
    error = pair.complaint(ready())
    assert error.message.startswith("commit status: http://127.0.0.1:")
    assert "403: Resource not accessible" in error.message
    assert len(pair.there.comments(7)) == 1


def test_a_commit_that_the_forge_does_not_know_is_said(pair: Pair) -> None:
    assert "commit status" in pair.complaint(started("0" * 40)).message


def test_a_wrong_token_is_said_once(pair: Pair) -> None:
    pair.there.token, before = "another", pair.there.token
    error = pair.complaint(ready())
    assert before not in error.message
    assert "401" in error.message
    assert "token" in error.remedy
    assert len(pair.there.requests) == 1


def test_a_forge_that_asks_to_wait_is_asked_again(pair: Pair) -> None:
    pair.there.open(7, "feature/login")
    pair.there.answers = [
        ("POST", Answer(429, {"message": "rate limit"}, {"Retry-After": "0"})),
        ("GET", Answer(429, {"message": "rate limit"}, {"Retry-After": "0"})),
    ]
    pair.hear(ready())
    assert len(pair.there.comments(7)) == 1


def test_a_forge_that_goes_on_refusing_is_given_up(pair: Pair) -> None:
    pair.there.refusals = {"": Answer(429, {"message": "API rate limit exceeded"}, {"Retry-After": "0"})}
    assert "429" in pair.complaint(started()).message


def test_a_forge_that_is_down_is_said_once(github: Pair) -> None:
    github.there.__exit__()
    error = github.complaint(ready())
    assert error.message.count("doesn't answer") == 1
    github.there.__enter__()
