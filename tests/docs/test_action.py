"""The steps of action.yml, run in their order as a runner runs them, on the real engine.

Two steps are not run: setting up Python, which is another action, and installing Branchline, which needs a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actions_runner import Runner, Step
from tests.docker.conftest import Branchline
from tests.github import TOKEN, GitHub, serving
from tests.repositories import Repo, git

BRANCH = "feature/$(touch${IFS}it-was-run)"
"""Git allows such a name."""
INSTEAD = {
    "Set up Python": Step("success", {"python-path": sys.executable}),
    "Install Branchline": Step("success"),
}


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as made:
        yield made


def use(branchline: Branchline, github: GitHub, clone: Path, event: dict[str, Any], **inputs: str) -> Runner:
    """A job that uses the action in the clone, for an event."""
    temporary = clone.with_name(f"{clone.name}-temporary")
    (temporary / "branchline").mkdir(parents=True, exist_ok=True)
    if not (temporary / "branchline" / "bin").exists():
        (temporary / "branchline" / "bin").symlink_to(Path(sys.executable).parent)
    environment = {**branchline.environment, **github.environment, "BRANCHLINE_ENGINE": "docker"}
    return Runner(clone, temporary, environment, {"token": TOKEN, **event}, {"project": "shop", **inputs})


def clone_of(shop: Repo, commit: str) -> Path:
    """As actions/checkout leaves it, with `fetch-depth: 0`."""
    directory = shop.path.with_name("clone")
    git(shop.path.parent, "clone", "--quiet", "--no-checkout", str(shop.path), str(directory))
    git(directory, "checkout", "--quiet", "-B", BRANCH, commit)
    return directory


def test_a_push_is_deployed_told_to_the_pull_request_and_removed_with_the_branch(
    branchline: Branchline, shop: Repo, github: GitHub
) -> None:
    github.open(7, BRANCH)
    shop.checkout(BRANCH, create=True)
    first = shop.commit(files={"version": "login 1"})
    clone = clone_of(shop, first)

    outputs = use(branchline, github, clone, push(first)).run(instead=INSTEAD)
    assert branchline.get(outputs["url"]).text == "login 1"
    assert (outputs["commit"], outputs["release"]) == (first, "1")
    assert float(outputs["seconds"]) > 0
    (body,) = github.bodies(7)
    assert outputs["url"] in body
    assert first in body
    assert not [*clone.rglob("it-was-run"), *clone.parent.glob("it-was-run")]

    broken = shop.commit(files={"server.py": "raise SystemExit('no database')"})
    git(clone, "fetch", "--quiet")
    job = use(branchline, github, clone, pull_request(broken))
    assert set(job.run(instead=INSTEAD).values()) == {""}
    assert job.steps["deploy"].outcome == "failure"
    assert "no database" in job.steps["deploy"].log
    (body,) = github.bodies(7)
    assert "no database" in body
    assert branchline.get(outputs["url"]).text == "login 1"

    shop.checkout("main")
    job = use(branchline, github, clone, {"event_name": "delete", "ref_name": "main", "event": {"ref": BRANCH}})
    job.inputs["command"] = "destroy"
    assert set(job.run(instead=INSTEAD).values()) == {""}
    assert branchline.list(clone) == []
    (body,) = github.bodies(7)
    assert body.endswith("The branch's environment is removed.")


def test_a_branch_that_is_named_is_deployed_at_its_latest_commit_and_without_a_comment(
    branchline: Branchline, shop: Repo, github: GitHub
) -> None:
    github.open(7, BRANCH)
    shop.checkout(BRANCH, create=True)
    latest = shop.commit(files={"version": "login 1"})
    clone = clone_of(shop, latest)
    event = {"event_name": "workflow_dispatch", "ref_name": "main", "sha": git(shop.path, "rev-parse", "main")}
    outputs = use(branchline, github, clone, event, branch=BRANCH, comment="false").run(instead=INSTEAD)
    assert outputs["commit"] == latest
    assert github.bodies(7) == []


def test_a_command_that_does_not_exist_fails_before_anything_is_done(
    branchline: Branchline, shop: Repo, github: GitHub
) -> None:
    job = use(branchline, github, shop.path, push(shop.head), command="deplyo")
    job.run(instead=INSTEAD)
    outcomes = [step.outcome for step in job.steps.values()]
    assert outcomes == ["failure", *["skipped"] * (len(outcomes) - 1)]


def push(commit: str) -> dict[str, Any]:
    """The context of a push of the branch."""
    return {"event_name": "push", "ref_name": BRANCH, "sha": commit, "event": {"after": commit}}


def pull_request(commit: str) -> dict[str, Any]:
    """The context of a pull request of the branch, where `sha` is that of a merge which nobody has asked for."""
    return {
        "event_name": "pull_request",
        "ref_name": "7/merge",
        "head_ref": BRANCH,
        "sha": "f" * 40,
        "event": {"pull_request": {"head": {"sha": commit}}},
    }
