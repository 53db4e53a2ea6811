"""AWS on a bad day: calls are throttled, fail, or take effect and their answers get lost. Nobody notices.

Every call is hit at its first attempt, in all of an environment's life; botocore sends it again. Where that made two of
a thing, which the emulator accepts more often than AWS does, one is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from branchline.errors import ReleaseError
from tests.aws import proxy
from tests.aws.proxy import Call, Fault
from tests.aws.shop import KEPT, SERVING, Shop
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
FAULTS: dict[str, Callable[[Call], Fault]] = {
    "throttled": proxy.throttled,
    "failed": proxy.failed,
    "lost": lambda _: proxy.LOST,
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore waits for nothing before it sends a call again."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    monkeypatch.setattr("botocore.retries.bucket.TokenBucket.acquire", lambda *_, **__: True)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("impatient")
def test_a_bad_day_changes_nothing(shop: Shop, fault: str) -> None:
    def hit(call: Call) -> Fault | None:
        return FAULTS[fault](call) if call.attempt == 1 else None

    def check(expected: str, kinds: Counter[str]) -> None:
        sent_again = {call.operation for call in shop.proxy.calls if call.attempt == 2}
        assert sent_again == {call.operation for call in shop.proxy.calls}
        shop.proxy.let(lambda _: None)
        eventually(lambda: shop.answer() == expected, f"it answers {expected}")  # the emulator may lag behind
        assert shop.kinds() == kinds
        shop.proxy.let(hit)

    shop.proxy.let(hit)
    shop.deploy()
    check("1", SERVING)
    for text in ("2", "3"):
        shop.commit(text)
        shop.deploy()
        check(text, SERVING + KEPT)
    shop.repo.commit("Broken", {"start": "exit 3\n"})
    with pytest.raises(ReleaseError):
        shop.deploy()
    check("3", SERVING + KEPT + Counter({"lease": 1}))  # the word of it
    shop.rollback()
    check("2", SERVING + KEPT)
    shop.destroy()
    shop.proxy.let(lambda _: None)
    shop.is_gone()
