"""Two CI jobs and a deletion of one branch on three machines, at the same time: the end is always right."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from branchline import lifecycle
from branchline.cancellation import Cancellation
from branchline.errors import DeletedError, SupersededError
from branchline.ports import Push
from tests.aws.shop import KEPT, SERVING, Shop, nothing

_SPREAD = 3.0
"""Seconds within which all three begin, which is what a deploy takes."""


class Race:
    """What came to its end, in that order."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.ended: dict[str, str] = {}
        """How those ended that gave way."""

    def run(self, name: str, delay: float, work: Callable[[], object]) -> None:
        time.sleep(delay)
        try:
            work()
        except (SupersededError, DeletedError) as error:
            self.ended[name] = type(error).__name__
        else:
            self.finished.append(name)


def deploy(shop: Shop, push: Push) -> None:
    lifecycle.deploy(shop.platform(), push, nothing, Cancellation())


@pytest.mark.parametrize("number", range(5))
def test_the_newest_commit_serves_or_nothing_is_left(shop: Shop, tmp_path: Path, number: int) -> None:
    delays = [random.uniform(0, _SPREAD) for _ in range(3)]
    older = shop.push()
    shop.commit("2")
    newer = shop.push()
    machines = [shop.elsewhere(tmp_path / f"machine {each}") for each in range(3)]
    work = {
        "1": partial(deploy, machines[0], older),
        "2": partial(deploy, machines[1], newer),
        "destroy": machines[2].destroy,
    }
    race = Race()
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(race.run, name, delay, work[name]) for name, delay in zip(work, delays, strict=True)]
    for each in running:
        each.result()

    told = f"{delays}: {race.finished}, {race.ended}"
    assert "destroy" in race.finished, told
    assert race.ended.get("2") != "SupersededError", told
    assert race.finished[:2] != ["2", "1"], told
    assert race.finished[1:] != ["2", "1"], told
    serving = race.finished[race.finished.index("destroy") + 1 :]
    assert serving in ([], ["1"], ["2"], ["1", "2"]), told
    if serving:
        assert shop.answer() == serving[-1], told
        assert shop.kinds() == (SERVING if len(serving) == 1 else SERVING + KEPT), told
    else:
        shop.is_gone()
