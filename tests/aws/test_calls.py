"""How many calls to AWS each operation costs. Polling is left out: it depends on how long tasks take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from branchline import lifecycle
from branchline.cancellation import Cancellation
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.ports import Platform
from tests.aws.app import app
from tests.aws.conftest import MiniStack
from tests.aws.direct import platform_of, push_of
from tests.driver import Branchline
from tests.repositories import Repo

_POLLS = {"ecs:ListTasks", "ecs:DescribeTasks", "elbv2:DescribeTargetHealth"}


class Counted:
    """A platform, and what its operations cost."""

    def __init__(self, name: str, ministack: MiniStack, state: Path) -> None:
        self._arguments = name, ministack, str(state)

    def __call__(self, operation: Callable[[Platform], object]) -> Counter[str]:
        """Does it as a command of its own would, with nothing known from before."""
        from branchline.settings.platform import Ecs

        name, ministack, state = self._arguments
        aws = Aws(Ecs())
        operation(platform_of(name, ministack, aws, state))
        polls = aws.calls["ecs:ListTasks"] + aws.calls["ecs:DescribeTasks"]
        calls = Counter({call: count for call, count in aws.calls.items() if call not in _POLLS})
        if polls:  # each look at the rollout also reads the service, beyond the first time
            calls["ecs:DescribeServices"] = min(calls["ecs:DescribeServices"], 1)
        calls["dynamodb:UpdateItem"] = 1  # the others are signs of life, one every two seconds
        return calls


@pytest.fixture
def shop(tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    return repository(app(tiny_base, "main 1"))


def nothing(_: object) -> None:
    """Hears events and does nothing about them."""


def test_operations_keep_within_their_budget_of_calls(
    branchline: Branchline, base: Base, ministack: MiniStack, shop: Repo, tmp_path: Path
) -> None:
    counted = Counted(base.platform, ministack, tmp_path / "state")
    push = push_of(base.platform, shop)
    first = counted(lambda platform: lifecycle.deploy(platform, push, nothing, Cancellation()))
    print(first)
    assert first.total() <= 14, first
    unchanged = counted(lambda platform: lifecycle.deploy(platform, push, nothing, Cancellation()))
    print(unchanged)
    assert unchanged.total() <= 8, unchanged
    shop.commit("Second", {"index.html": "main 2"})
    second = push_of(base.platform, shop)
    again = counted(lambda platform: lifecycle.deploy(platform, second, nothing, Cancellation()))
    print(again)
    assert again.total() <= 12, again
    destroyed = counted(lambda platform: lifecycle.destroy(platform, push.environment, nothing, Cancellation()))
    print(destroyed)
    assert destroyed.total() <= 12, destroyed
