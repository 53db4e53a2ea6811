"""What GitHub and GitLab show in their lists of deployments and environments."""

from __future__ import annotations

from typing import Any

from branchline.environment import EnvironmentId
from tests.forge_apis.conftest import LOGIN, LOGS, URL, Pair, failed, ready, removed, started
from tests.forge_stand_ins.server import COMMITS

FIRST, SECOND, THIRD = COMMITS[:3]
NAME = "default/shop/feature/login"


def test_on_github_the_commit_that_serves_is_the_only_active_deployment(github: Pair) -> None:
    github.hear(started(FIRST), ready(FIRST))
    assert github.there.states(NAME) == {FIRST: ["in_progress", "success"]}
    made = github.there.deployments[0]
    assert (made["transient_environment"], made["production_environment"]) == (True, False)
    in_progress, success = made["statuses"]
    assert in_progress["log_url"] == success["log_url"] == LOGS
    assert success["environment_url"] == URL

    github.hear(started(SECOND))
    assert github.there.states(NAME)[FIRST] == ["in_progress", "success"], "what serves stays active until then"
    github.hear(ready(SECOND))
    assert github.there.states(NAME) == {
        FIRST: ["in_progress", "success", "inactive"],
        SECOND: ["in_progress", "success"],
    }

    github.hear(started(THIRD), failed(THIRD))
    assert github.there.states(NAME)[SECOND] == ["in_progress", "success"]
    assert github.there.states(NAME)[THIRD] == ["in_progress", "failure"]

    github.hear(removed(), removed())
    assert {commit: states[-1] for commit, states in github.there.states(NAME).items()} == {
        FIRST: "inactive",
        SECOND: "inactive",
        THIRD: "failure",
    }
    assert sum(states.count("inactive") for states in github.there.states(NAME).values()) == 2


def test_on_github_a_deploy_that_was_superseded_becomes_inactive(github: Pair) -> None:
    github.hear(started(FIRST), started(SECOND), ready(SECOND))
    assert github.there.states(NAME)[FIRST] == ["in_progress", "inactive"]


def test_on_github_a_failed_commit_is_tried_again_in_the_same_deployment(github: Pair) -> None:
    github.hear(started(), failed(), started(), ready())
    assert github.there.states(NAME) == {FIRST: ["in_progress", "failure", "in_progress", "success"]}


def test_on_github_a_way_back_is_a_deployment_of_its_own(github: Pair) -> None:
    for commit in (FIRST, SECOND, FIRST):
        github.hear(ready(commit))
    states = [[status["state"] for status in each["statuses"]] for each in github.there.deployments]
    assert states == [["success", "inactive"], ["success", "inactive"], ["success"]]


def test_on_github_other_environments_stay_as_they_are(github: Pair) -> None:
    github.hear(ready(environment=EnvironmentId("default", "shop", "main")), ready(), removed())
    assert github.there.states("default/shop/main") == {FIRST: ["success"]}


def test_on_github_a_failure_to_make_old_ones_inactive_is_made_up_for_later(github: Pair) -> None:
    github.hear(ready(FIRST), started(SECOND))
    github.there.deployments.append({"id": 1, "sha": THIRD, "environment": NAME, "statuses": []})
    github.hear(ready(SECOND))
    assert github.there.states(NAME)[THIRD] == ["inactive"]
    assert github.there.states(NAME)[FIRST] == ["success", "inactive"]


def gitlab_deployments(gitlab: Pair) -> list[tuple[str, str]]:
    return [(each["sha"], each["status"]) for each in gitlab.there.deployments]


def environment(gitlab: Pair) -> dict[str, Any]:
    (found,) = gitlab.there.environments
    return found


def test_on_gitlab_an_environment_follows_the_branch(gitlab: Pair) -> None:
    gitlab.hear(started(FIRST))
    assert gitlab_deployments(gitlab) == [(FIRST, "running")]
    assert (environment(gitlab)["name"], environment(gitlab)["tier"]) == (NAME, "development")

    gitlab.hear(ready(FIRST))
    assert gitlab_deployments(gitlab) == [(FIRST, "success")]
    assert environment(gitlab)["external_url"] == URL
    assert gitlab.there.deployments[0]["ref"] == "feature/login"

    gitlab.hear(started(SECOND), failed(SECOND), started(SECOND), ready(SECOND))
    assert gitlab_deployments(gitlab) == [(FIRST, "success"), (SECOND, "failed"), (SECOND, "success")]

    gitlab.hear(removed(), removed())
    assert environment(gitlab)["state"] == "stopped"
    assert gitlab.there.asked("/stop") == 1

    gitlab.hear(started(THIRD), ready(THIRD))
    assert environment(gitlab)["state"] == "available"


def test_on_gitlab_removing_what_was_never_there_is_no_error(gitlab: Pair) -> None:
    gitlab.hear(removed())
    assert gitlab.there.environments == []


def test_on_gitlab_a_branch_that_makes_no_environments_name_has_its_slug(gitlab: Pair) -> None:
    branch = EnvironmentId("default", "shop", "fix/#12")
    gitlab.hear(ready(environment=branch))
    assert environment(gitlab)["name"] == f"default/shop/{branch.slug}"


def test_on_gitlab_a_forks_commit_is_told_under_its_merge_request(gitlab: Pair) -> None:
    gitlab.hear(started(environment=EnvironmentId("default", "shop", "pull/9")))
    assert gitlab.there.statuses[0]["ref"] == gitlab.there.deployments[0]["ref"] == "refs/merge-requests/9/head"


def test_the_environments_name_is_the_branchs_unless_a_forge_would_refuse_it(github: Pair) -> None:
    long = EnvironmentId("default", "shop", "a" * 250)
    github.hear(ready(), ready(environment=long))
    assert [each["environment"] for each in github.there.deployments] == [NAME, f"default/shop/{long.slug}"]
    assert LOGIN.slug not in NAME
