"""A command killed with SIGKILL after any call that changes something: the next one puts it right, with no leftover.

A kill after a call that only reads is like one after the call before.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from branchline import lifecycle, naming
from branchline.cancellation import Cancellation
from tests.aws.proxy import Call, Effect, Fault
from tests.aws.shop import KEPT, SERVING, Shop, nothing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
LONGEST = 40
"""More calls than any operation makes; a test that reaches it would never end."""


def killed(shop: Shop, operation: Callable[[Shop], object], chosen: Callable[[str], bool]) -> str:
    """Does the operation in a child of this process, and kills it after the first call that was chosen.

    A call is named by its operation and how often that was called, since some are made at the same time. Returns its
    name, or '' where the child came to its end.
    """
    child: Future[int] = Future()
    passed: Counter[str] = Counter()
    at: list[str] = []

    def fault(call: Call) -> Fault | None:
        if at or not call.changes:
            return None
        passed[call.operation] += 1
        name = f"{call.operation} {passed[call.operation]}"
        if not chosen(name):
            return None
        at.append(name)
        return Effect(after=lambda: os.kill(child.result(), signal.SIGKILL), lost=True)

    shop.proxy.let(fault)
    code = _in_a_child(lambda: operation(shop.elsewhere(shop.state)), child)
    shop.proxy.let(lambda _: None)
    assert code == (-signal.SIGKILL if at else 0)
    shop.hours_pass()
    return at[0] if at else ""


def _in_a_child(operation: Callable[[], object], child: Future[int]) -> int:
    """Returns how the child ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child of a process with threads runs on its own
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            operation()
            code = 0
        except BaseException:  # noqa: BLE001 - the child must end here, and say why
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    child.set_result(pid)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def each_call(shop: Shop, operation: Callable[[Shop], object]) -> Iterator[tuple[int, str]]:
    """Has the operation done again and again, and killed after another call each time, until it comes to its end.

    Gives the number of the kill and the call. Then the caller sees to it that the operation can be done again.
    """
    seen: set[str] = set()
    for number in range(LONGEST):
        at = killed(shop, operation, lambda name: name not in seen)
        if not at:
            break
        seen.add(at)
        yield number, at
    else:
        pytest.fail("it never came to its end")
    assert len(seen) >= 4, seen


class Releases:
    """Deploys one commit after another."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.texts = ["1"]
        """What the commits answer."""

    def make_two(self) -> None:
        """Sees to it that a release serves, and that one served before it."""
        while self._shop.kinds()["image"] < 2:
            self.commit()
            self._shop.deploy()

    def commit(self) -> None:
        """Makes another commit."""
        self.texts.append(str(len(self.texts) + 1))
        self._shop.commit(self.texts[-1])


def test_a_killed_first_deploy_is_made_good_by_the_next_or_by_a_destroy(shop: Shop) -> None:
    for number, at in each_call(shop, Shop.deploy):
        if number % 2 == 0:
            shop.deploy()
            assert shop.answer() == "1", at
            assert shop.kinds() == SERVING, at
        shop.destroy()
        shop.is_gone()
        repository = naming.image_repository(shop.base.platform, "shop")
        shop.aws.ecr.delete_repository(repositoryName=repository, force=True)  # which the next deploy makes again


def test_a_killed_redeploy_is_made_good_by_the_next_by_a_rollback_or_by_a_destroy(shop: Shop) -> None:
    releases = Releases(shop)
    releases.make_two()
    releases.commit()
    before = shop.answer()
    for number, at in each_call(shop, Shop.deploy):
        *_, older, _, new = releases.texts
        serving = shop.answer()
        assert serving in (before, new), at
        if number % 2 == 0:
            shop.deploy()
            assert shop.answer() == new, at
            assert shop.kinds() == SERVING + KEPT, at
        elif number % 4 == 1:
            shop.rollback()
            assert shop.answer() == (older if serving == before else before), at
            assert shop.kinds() == SERVING + KEPT, at
        else:
            shop.destroy()
            shop.is_gone()
        releases.make_two()
        before = shop.answer()
        releases.commit()


def test_a_rollback_after_a_killed_redeploy_goes_back_to_what_was_known_to_serve(shop: Shop) -> None:
    releases = Releases(shop)
    releases.make_two()
    releases.commit()
    assert killed(shop, Shop.deploy, "UpdateService 1".__eq__)
    shop.rollback()
    assert shop.answer() == releases.texts[-2]
    assert shop.kinds() == SERVING + KEPT
    shop.rollback()
    assert shop.answer() == releases.texts[-1]
    shop.destroy()
    shop.is_gone()


def test_a_killed_rollback_is_made_good_by_the_next_or_by_a_deploy(shop: Shop) -> None:
    releases = Releases(shop)
    releases.make_two()
    for number, at in each_call(shop, Shop.rollback):
        before, new = releases.texts[-2:]
        if number % 2 == 1:
            shop.rollback()
            assert shop.answer() == (before if at == "UpdateService 1" else new), at
        else:
            releases.commit()
            shop.deploy()
            assert shop.answer() == releases.texts[-1], at
        assert shop.kinds() == SERVING + KEPT, at
        if number % 2 == 1:
            shop.destroy()
            shop.is_gone()
            releases.make_two()


def test_a_killed_destroy_is_made_good_by_the_next_or_by_a_deploy(shop: Shop) -> None:
    shop.deploy()
    for number, at in each_call(shop, Shop.destroy):
        if number % 2 == 0:
            shop.destroy()
            shop.is_gone()
        shop.deploy()
        assert shop.answer() == "1", at
        assert shop.kinds() == SERVING, at


def test_what_a_killed_first_deploy_left_is_found(shop: Shop) -> None:
    for at in ("CreateLogGroup 1", "CreateRule 1"):
        assert killed(shop, Shop.deploy, at.__eq__)
        reap(shop)
        shop.is_gone()
    assert killed(shop, Shop.deploy, "CreateService 1".__eq__)
    reap(shop)
    assert shop.kinds() == SERVING  # all is there that the branch is to have, and is listed as its environment
    assert [each.id for each in shop.platform().engine.environments()] == [shop.environment]


def test_what_a_killed_destroy_left_is_found(shop: Shop) -> None:
    shop.deploy()
    assert killed(shop, Shop.destroy, "DeleteRule 1".__eq__)
    reap(shop)
    shop.is_gone()


def reap(shop: Shop) -> None:
    platform, now = shop.platform(), datetime.now(UTC)
    found = lifecycle.reapable(platform, lambda _: None, now)
    assert [item.environment for item in found] == [shop.environment]
    lifecycle.reap(platform, found, lambda _: None, now, nothing, Cancellation())
    assert lifecycle.reapable(platform, lambda _: None, now) == []
