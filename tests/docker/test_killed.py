"""A deploy, destroy or rollback killed with SIGKILL at any point and run again reaches the same end, with no leftover."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tests import leftovers
from tests.docker.conftest import Branchline
from tests.repositories import Repo

ROOT = Path(__file__).parents[2]
LONGEST = 60
"""More points than any command passes; a test that reaches it would never end."""


def site(base: str, text: str) -> dict[str, str]:
    """The smallest application there is: BusyBox's web server."""
    return {
        "Dockerfile": f'FROM {base}\nCOPY index.html /www/\nEXPOSE 80\nCMD ["httpd", "-f", "-p", "80", "-h", "/www"]\n',
        "index.html": text,
    }


def killed(branchline: Branchline, cwd: Path, what: str, point: int, *arguments: str) -> bool:
    """Runs the command up to the point; returns whether it got there and was killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.docker.kill_driver", what, str(point), *arguments],
        cwd=cwd,
        env=branchline.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, -9), f"point {point}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.returncode == -9


def shape(engine: docker.DockerClient, platform: str) -> list[str]:
    """All that the platform has on the engine, by the ends of the names, which say the roles."""
    return sorted(f"{item.kind} {item.name.rpartition('.')[2]}" for item in leftovers.resources(engine, platform))


@pytest.mark.parametrize("what", ["event", "call"])
@pytest.mark.timeout(400)
def test_a_killed_first_deploy_can_be_run_again(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    what: str,
) -> None:
    repo = repository(site(tiny_base, "one"))
    url = branchline.deploy(repo)["url"]
    expected = shape(engine, branchline.platform)
    for point in range(1, LONGEST):
        branchline("destroy", "main", cwd=repo.path)
        if not killed(branchline, repo.path, what, point, "deploy"):
            break
        branchline.deploy(repo)
        assert shape(engine, branchline.platform) == expected, f"killed at {what} {point}"
        assert branchline.get(url).text == "one"
    else:
        pytest.fail("the deploy never came to its end")
    assert point > 5, "the points were not passed"


@pytest.mark.parametrize("what", ["event", "call"])
@pytest.mark.timeout(400)
def test_a_killed_redeploy_leaves_a_release_serving_and_can_be_run_again(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    what: str,
) -> None:
    repo = repository(site(tiny_base, "0"))
    url = branchline.deploy(repo)["url"]
    repo.commit(files=site(tiny_base, "1"))
    branchline.deploy(repo)
    expected = shape(engine, branchline.platform)
    for point in range(1, LONGEST):
        text, before = str(point + 1), str(point)
        repo.commit(files=site(tiny_base, text))
        if not killed(branchline, repo.path, what, point, "deploy"):
            break
        assert branchline.get(url).text in (before, text), f"nothing serves after a kill at {what} {point}"
        branchline.deploy(repo)
        assert branchline.get(url).text == text
        assert shape(engine, branchline.platform) == expected, f"killed at {what} {point}"
    else:
        pytest.fail("the deploy never came to its end")
    assert point > 5, "the points were not passed"


@pytest.mark.timeout(300)
def test_a_killed_destroy_can_be_run_again(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    for point in range(1, LONGEST):
        branchline.deploy(repo)
        if not killed(branchline, repo.path, "call", point, "destroy", "main"):
            break
        branchline("destroy", "main", cwd=repo.path)
        assert shape(engine, branchline.platform) == [], f"killed at call {point}"
    else:
        pytest.fail("the destroy never came to its end")
    assert point > 3, "the points were not passed"


@pytest.mark.timeout(300)
def test_a_killed_rollback_can_be_run_again(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    url = branchline.deploy(repo)["url"]
    repo.commit(files=site(tiny_base, "two"))
    branchline.deploy(repo)
    for point in range(1, LONGEST):
        if not killed(branchline, repo.path, "call", point, "rollback", "main"):
            break
        assert branchline.get(url).text in ("one", "two"), f"nothing serves after a kill at call {point}"
        branchline("reap", cwd=repo.path)
        repo.commit(files=site(tiny_base, "two"))
        branchline.deploy(repo, "--force")
        assert branchline.get(url).text == "two"
    else:
        pytest.fail("the rollback never came to its end")
    assert point > 3, "the points were not passed"


def test_what_a_killed_deploy_left_is_listed_and_reaped(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    assert killed(branchline, repo.path, "event", 8, "deploy")
    (found,) = branchline.list(repo.path)
    assert found["state"] == "failed"
    assert "interrupted" in found["reason"]
    listed = branchline("reap", "--dry-run", cwd=repo.path)
    assert "would remove" in listed.out
    assert shape(engine, branchline.platform), "a dry run removed something"
    branchline("reap", cwd=repo.path)
    assert shape(engine, branchline.platform) == []
    assert branchline.list(repo.path) == []
    assert os.listdir(branchline.state / branchline.platform / "leases") is not None
