"""Several changes at once: the latest commit wins, deletion beats deployment, and nothing is left half-made."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import docker
import pytest

from tests import leftovers
from tests.docker.app import app
from tests.docker.conftest import Branchline
from tests.repositories import Repo
from tests.waiting import eventually


def slow(base: str, version: str, seconds: int) -> dict[str, str]:
    """An application whose image takes a while to build."""
    return app(base, version, more=f"RUN sleep {seconds}; echo {version}")


def building(branchline: Branchline, repo: Repo, commit: str) -> bool:
    """Whether the commit's deploy is on record as building."""
    return any((item["pending"] or {}).get("commit") == commit for item in branchline.list(repo.path))


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, err


def test_a_newer_commit_cancels_the_build_in_flight(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(slow(python_base, "old", 120))
    old = repo.head
    first = branchline.start("deploy", cwd=repo.path)
    eventually(lambda: building(branchline, repo, old), "the old commit is being built", timeout=30)
    new = repo.commit(files=slow(python_base, "new", 0))
    url = branchline.deploy(repo)["url"]
    code, said = ended(first)
    assert code == 0
    assert f"is superseded by the newer commit {new[:12]}" in said
    assert branchline.get(url).text == "new"


def test_an_older_commit_gives_way_to_the_build_in_flight(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(slow(python_base, "old", 0))
    old = repo.head
    new = repo.commit(files=slow(python_base, "new", 5))
    first = branchline.start("deploy", cwd=repo.path)
    eventually(lambda: building(branchline, repo, new), "the new commit is being built", timeout=30)
    late = branchline.try_("deploy", "--commit", old, cwd=repo.path)
    assert late.code == 0
    assert f"superseded by the newer commit {new[:12]}" in late.err
    assert ended(first)[0] == 0
    (found,) = branchline.list(repo.path)
    assert found["commit"] == new


def test_the_same_commit_twice_is_deployed_once(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(slow(python_base, "one", 6))
    first = branchline.start("deploy", cwd=repo.path)
    eventually(lambda: building(branchline, repo, repo.head), "the commit is being built", timeout=30)
    second = branchline("deploy", cwd=repo.path)
    assert "waiting: another deploy of it is running" in second.err
    assert "ready: unchanged" in second.err
    assert ended(first)[0] == 0


def test_destroy_during_a_deploy_ends_with_nothing(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(slow(python_base, "x", 120))
    deploy = branchline.start("deploy", cwd=repo.path)
    eventually(lambda: building(branchline, repo, repo.head), "the commit is being built", timeout=30)
    branchline("destroy", "main", cwd=repo.path)
    code, said = ended(deploy)
    assert code == 1
    assert "main was destroyed while its deploy was running" in said
    assert leftovers.resources(engine, branchline.platform) == []


def test_a_branch_deleted_during_its_deploy_has_nothing_at_its_end(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(app(python_base, "main"))
    repo.checkout("feature", create=True)
    repo.commit(files=slow(python_base, "feature", 3))
    repo.checkout("main")
    deploy = branchline.start("deploy", "--branch", "feature", cwd=repo.path)
    eventually(lambda: branchline.list(repo.path), "the branch is being built", timeout=30)
    repo.delete_branch("feature")
    code, said = ended(deploy)
    assert code == 1
    assert "feature was deleted while its deploy was running; nothing of it is left" in said
    assert leftovers.resources(engine, branchline.platform) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_deploy_leaves_the_previous_release_serving_and_nothing_half_made(
    branchline: Branchline,
    python_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    number: signal.Signals,
) -> None:
    repo = repository(app(python_base, "old"))
    url = branchline.deploy(repo)["url"]
    before = sorted(map(str, leftovers.resources(engine, branchline.platform)))
    repo.commit(files=slow(python_base, "new", 120))
    deploy = branchline.start("deploy", cwd=repo.path)
    eventually(lambda: building(branchline, repo, repo.head), "the new commit is being built", timeout=30)
    deploy.send_signal(number)
    code, said = ended(deploy)
    assert code == 130
    assert "interrupted" in said
    assert sorted(map(str, leftovers.resources(engine, branchline.platform))) == before
    assert branchline.get(url).text == "old"


def test_branches_deploy_side_by_side_up_to_the_limit(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(python_base, "main"))
    for name in ("a", "b", "c"):
        repo.checkout(name, create=True)
        repo.commit(files=slow(python_base, name, 3))
    limit = {"BRANCHLINE_PARALLEL": "2"}
    processes = [branchline.start("deploy", "--branch", name, cwd=repo.path, env=limit) for name in ("a", "b", "c")]
    answers = [ended(process) for process in processes]
    assert [code for code, _ in answers] == [0, 0, 0], answers
    waited = [said for _, said in answers if "2 other deploys are running, which is the limit" in said]
    assert len(waited) == 1
    for item in branchline.list(repo.path):
        assert branchline.get(item["url"]).text == item["branch"]


def test_many_processes_of_one_branch_end_with_the_newest_commit(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository({})
    commits = []
    for number in range(5):
        files = {
            "Dockerfile": f'FROM {tiny_base}\nCOPY i /w/index.html\nEXPOSE 80\nCMD ["httpd", "-f", "-h", "/w"]\n',
            "i": str(number),
        }
        commits.append(repo.commit(files=files))
    order = [2, 4, 0, 3, 1]
    processes = [branchline.start("deploy", "--commit", commits[number], cwd=repo.path) for number in order]
    for process in processes:
        assert ended(process)[0] == 0
    (found,) = branchline.list(repo.path)
    assert found["commit"] == commits[-1]
    assert branchline.get(found["url"]).text == "4"
    running = engine.containers.list(filters={"label": f"branchline:platform={branchline.platform}"})
    assert len(running) == 1


def test_the_state_of_a_first_deploy_can_be_watched(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(slow(python_base, "x", 3))
    deploy = branchline.start("deploy", cwd=repo.path)
    (found,) = eventually(lambda: branchline.list(repo.path), "the environment is listed", timeout=30)
    assert found["state"] in ("building", "starting")
    assert found["commit"] == repo.head
    eventually(lambda: branchline.get(found["url"]).status_code == 503, "the router knows of it")
    answer = branchline.get(found["url"])
    assert int(answer.headers["Retry-After"]) > 0
    assert ended(deploy)[0] == 0
    assert branchline.get(found["url"]).text == "x"
