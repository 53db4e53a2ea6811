"""Ctrl-C, a closed terminal, a cancelled CI job: whenever it comes, what served serves, and nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable

import docker
import pytest

from tests import leftovers
from tests.docker.conftest import Branchline
from tests.docker.test_killed import shape, site
from tests.repositories import Repo
from tests.waiting import eventually


def waiting(base: str) -> dict[str, str]:
    """An application that never gets healthy."""
    return {"Dockerfile": f'FROM {base}\nEXPOSE 80\nCMD ["sleep", "600"]\n'}


def reached(process: subprocess.Popen[str], part: str) -> None:
    """Returns once the command has said that a part of it is done."""
    assert process.stderr
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(part):
            return
    pytest.fail(f"{part!r} was never reached:\n{''.join(said)}")


def interrupted(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> str:
    """Interrupts the command; returns what it said then."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "error: interrupted" in err
    return err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_first_deploy_that_waits_for_its_health_leaves_nothing(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    number: signal.Signals,
) -> None:
    repo = repository(waiting(tiny_base))
    process = branchline.start("deploy", cwd=repo.path)
    reached(process, "start ")
    interrupted(process, number)
    assert leftovers.resources(engine, branchline.platform) == []
    assert branchline.list(repo.path) == []


def test_a_redeploy_that_waits_for_its_health_leaves_what_served(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    url = branchline.deploy(repo)["url"]
    before = leftovers.resources(engine, branchline.platform)
    repo.commit(files=waiting(tiny_base))
    process = branchline.start("deploy", cwd=repo.path)
    reached(process, "start ")
    assert "what serves goes on serving" in interrupted(process)
    assert leftovers.resources(engine, branchline.platform) == before
    assert branchline.get(url).text == "one"


def test_while_the_old_release_is_let_finish_both_go_on_and_the_next_deploy_clears_up(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    url = branchline.deploy(shop)["url"]
    shop.commit(files={"version": "main 2"})
    branchline.deploy(shop)
    expected = shape(engine, branchline.platform)
    shop.commit(files={"version": "main 3"})
    answers: list[str] = []
    asker = threading.Thread(target=lambda: answers.append(branchline.get(url, "/slow?seconds=6").text))
    asker.start()
    process = branchline.start("deploy", cwd=shop.path)
    reached(process, "ready in")
    interrupted(process)
    assert branchline.get(url).text == "main 3"
    asker.join()
    assert answers == ["main 2"]
    branchline.deploy(shop)
    assert branchline.get(url).text == "main 3"
    assert shape(engine, branchline.platform) == expected


def test_while_the_router_starts_none_is_left_that_does_not_serve(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(site(tiny_base, "one"))
    directory = branchline.state / branchline.platform / "router"
    for _ in range(3):
        process = branchline.start("deploy", cwd=repo.path)
        eventually((directory / "caddy.pid").exists, "the router starts", interval=0.001)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert process.returncode == 130
        assert leftovers.resources(engine, branchline.platform) == []
        status = branchline("router", "status", "--json", cwd=repo.path).json
        routers = [item for item in leftovers.processes(str(directory)) if "caddy" in item.command]
        assert [item.pid for item in routers] == ([status["pid"]] if status["running"] else [])
        branchline("router", "stop", cwd=repo.path)
    assert branchline.get(branchline.deploy(repo)["url"]).text == "one"


def test_an_impatient_user_who_interrupts_twice_gets_no_traceback_and_can_deploy_again(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(waiting(tiny_base))
    process = branchline.start("deploy", cwd=repo.path)
    reached(process, "start ")
    process.send_signal(signal.SIGINT)
    eventually(lambda: process.poll() is not None or process.send_signal(signal.SIGINT), "it ends", interval=0.1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    repo.commit(files=site(tiny_base, "one"))
    assert branchline.get(branchline.deploy(repo)["url"]).text == "one"
    branchline("destroy", "main", cwd=repo.path)
    assert leftovers.resources(engine, branchline.platform) == []


def test_a_program_that_asked_for_json_gets_it(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository(waiting(tiny_base))
    process = branchline.start("deploy", "--json", cwd=repo.path)
    eventually(lambda: shape(engine, branchline.platform).count("network main"), "the release is started", timeout=30)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out) == {
        "error": "interrupted",
        "remedy": "what serves goes on serving; run it again to deploy",
        "details": [],
        "exit_code": 130,
    }
