"""Ctrl-C while a call to AWS is on its way: what served serves on, and what is made by it is taken back."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from tests.aws import proxy, sweep
from tests.aws.app import app
from tests.aws.conftest import MiniStack
from tests.aws.proxy import Call, Effect, Fault, Proxy
from tests.driver import Branchline
from tests.repositories import Repo
from tests.waiting import eventually

_ON_ITS_WAY = 0.3
"""Seconds that the call takes after the interrupt came."""


@pytest.fixture
def in_front(ministack: MiniStack) -> Iterator[Proxy]:
    with proxy.in_front_of(ministack.url) as made:
        yield made


def interrupted(branchline: Branchline, in_front: Proxy, repo: Repo, operation: str, *arguments: str) -> str:
    """Interrupts the command while it makes the call for the first time; returns what it said."""
    process: Future[subprocess.Popen[str]] = Future()
    reached: list[Call] = []

    def interrupt() -> None:
        process.result().send_signal(signal.SIGINT)
        time.sleep(_ON_ITS_WAY)

    def fault(call: Call) -> Fault | None:
        if reached or call.operation != operation:
            return None
        reached.append(call)
        return Effect(before=interrupt)

    in_front.let(fault)
    process.set_result(branchline.start(*arguments, cwd=repo.path, env={"AWS_ENDPOINT_URL": in_front.url}))
    _, err = process.result().communicate(timeout=60)
    assert reached
    assert process.result().returncode == 130, err
    assert "Traceback" not in err
    in_front.settle()
    return err


def there(aws: Aws, base: Base) -> list[str]:
    return sorted(each for each in sweep.everything(aws, base) if ":task/" not in each)


def test_a_first_deploy_leaves_nothing(
    branchline: Branchline, in_front: Proxy, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "1"))
    for operation in ("UpdateItem", "CreateTargetGroup", "CreateService", "DescribeTasks"):
        interrupted(branchline, in_front, repo, operation, "deploy")
        assert there(aws, base) == [], operation


def test_a_redeploy_leaves_what_served(
    branchline: Branchline, in_front: Proxy, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "1"))
    url = branchline.deploy(repo)["url"]
    before = there(aws, base)
    for operation in ("RegisterTaskDefinition", "UpdateService", "DescribeTargetHealth"):
        repo.commit(files=app(tiny_base, operation))
        err = interrupted(branchline, in_front, repo, operation, "deploy")
        assert "what serves goes on serving" in err
        assert there(aws, base) == before, operation
        eventually(lambda: branchline.get(url).text == "1", "the release before serves")


def test_a_redeploy_that_serves_already_is_not_taken_back(
    branchline: Branchline, in_front: Proxy, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "1"))
    url = branchline.deploy(repo)["url"]
    second = repo.commit(files=app(tiny_base, "2"))
    interrupted(branchline, in_front, repo, "TagResource", "deploy")
    assert branchline.get(url).text == "2"
    assert branchline("show", "main", "--json", cwd=repo.path).json["commit"] == second
    branchline("rollback", "main", cwd=repo.path)
    assert branchline.get(url).text == "1"


def test_a_deploy_makes_good_a_destroy(
    branchline: Branchline, in_front: Proxy, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "1"))
    url = branchline.deploy(repo)["url"]
    interrupted(branchline, in_front, repo, "DeleteRule", "destroy", "main")
    assert branchline.get(url).status_code == 404
    branchline.deploy(repo)
    assert branchline.get(url).text == "1"
