"""A command killed with SIGKILL at any point and run again reaches the same end, with no leftover."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from branchline.cli import main
from tests import leftovers
from tests.docker.conftest import Branchline
from tests.repositories import Repo

LONGEST = 60
"""More points than any command passes; a test that reaches it would never end."""


def site(base: str, text: str) -> dict[str, str]:
    """The smallest application there is: BusyBox's web server."""
    return {
        "Dockerfile": f'FROM {base}\nCOPY index.html /www/\nEXPOSE 80\nCMD ["httpd", "-f", "-p", "80", "-h", "/www"]\n',
        "index.html": text,
    }


def command(branchline: Branchline, cwd: Path, arguments: tuple[str, ...], prepare: Callable[[], None]) -> int:
    """Runs the command line in a child of this process, which spares the imports; returns how the child ended."""
    output = branchline.state / "output"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child of a process with threads runs on its own
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(cwd)
            os.environ.update(branchline.environment)
            with output.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            sys.argv = ["branchline", *arguments]
            prepare()
            main.main()
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:  # noqa: BLE001 - the child must end here, and say why
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"{arguments}: exit code {code}\n{output.read_text()}"
    return code


def done(branchline: Branchline, cwd: Path, *arguments: str) -> None:
    """Runs a command that has to succeed."""
    assert command(branchline, cwd, arguments, lambda: None) == 0


def killed(branchline: Branchline, cwd: Path, point: int, *arguments: str) -> bool:
    """Runs the command up to the point; returns whether it got there and was killed.

    A point is the answer to a call that changed something: nothing is different after one that only asked.
    """
    passed = 0

    def pass_point() -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_calls() -> None:
        send: Any = docker.APIClient.send

        def send_and_die(client: docker.APIClient, request: Any, **options: Any) -> Any:
            answer = send(client, request, **options)
            if request.method not in ("GET", "HEAD"):
                pass_point()
            return answer

        docker.APIClient.send = send_and_die  # type: ignore[method-assign]

    return command(branchline, cwd, arguments, watch_calls) != 0


def shape(engine: docker.DockerClient, platform: str) -> list[str]:
    """All that the platform has on the engine, by the ends of the names, which say the roles."""
    found = leftovers.resources(engine, platform)
    return sorted(
        item.kind if item.kind == "image" else f"{item.kind} {item.name.rpartition('.')[2]}" for item in found
    )


@pytest.mark.timeout(400)
def test_a_killed_first_deploy_can_be_run_again(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
) -> None:
    repo = repository(site(tiny_base, "one"))
    url = branchline.deploy(repo)["url"]
    expected = shape(engine, branchline.platform)
    for point in range(1, LONGEST):
        done(branchline, repo.path, "destroy", "main")
        if not killed(branchline, repo.path, point, "deploy"):
            break
        done(branchline, repo.path, "deploy")
        assert shape(engine, branchline.platform) == expected, f"killed at call {point}"
        assert branchline.get(url).text == "one"
    else:
        pytest.fail("the deploy never came to its end")
    assert point > 5, "the points were not passed"


@pytest.mark.timeout(400)
def test_a_killed_redeploy_leaves_a_release_serving_and_can_be_run_again(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
) -> None:
    repo = repository(site(tiny_base, "0"))
    url = branchline.deploy(repo)["url"]
    repo.commit(files=site(tiny_base, "1"))
    branchline.deploy(repo)
    expected = shape(engine, branchline.platform)
    for point in range(1, LONGEST):
        text, before = str(point + 1), str(point)
        repo.commit(files=site(tiny_base, text))
        if not killed(branchline, repo.path, point, "deploy"):
            break
        assert branchline.get(url).text in (before, text), f"nothing serves after a kill at call {point}"
        done(branchline, repo.path, "deploy")
        assert branchline.get(url).text == text
        assert shape(engine, branchline.platform) == expected, f"killed at call {point}"
    else:
        pytest.fail("the deploy never came to its end")
    assert point > 5, "the points were not passed"


@pytest.mark.timeout(300)
def test_a_killed_destroy_can_be_run_again(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    for point in range(1, LONGEST):
        done(branchline, repo.path, "deploy")
        if not killed(branchline, repo.path, point, "destroy", "main"):
            break
        done(branchline, repo.path, "destroy", "main")
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
        if not killed(branchline, repo.path, point, "rollback", "main"):
            break
        assert branchline.get(url).text in ("one", "two"), f"nothing serves after a kill at call {point}"
        done(branchline, repo.path, "reap")
        repo.commit(files=site(tiny_base, "two"))
        done(branchline, repo.path, "deploy", "--force")
        assert branchline.get(url).text == "two"
    else:
        pytest.fail("the rollback never came to its end")
    assert point > 3, "the points were not passed"


def test_what_a_killed_deploy_left_is_listed_and_reaped(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    assert killed(branchline, repo.path, 5, "deploy")
    (found,) = branchline.list(repo.path)
    assert found["state"] == "failed"
    assert "interrupted" in found["reason"]
    listed = branchline("reap", "--dry-run", cwd=repo.path)
    assert "would remove" in listed.out
    assert shape(engine, branchline.platform), "a dry run removed something"
    branchline("reap", cwd=repo.path)
    assert shape(engine, branchline.platform) == []
    assert branchline.list(repo.path) == []
