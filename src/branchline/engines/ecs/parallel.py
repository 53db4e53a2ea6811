"""Independent calls at the same time: each takes AWS some 50 to 100 ms. And calls that Ctrl-C doesn't tear apart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

_T = TypeVar("_T")


def all_at_once(*work: Callable[[], _T]) -> list[_T]:
    """Does independent work in threads; raises the first error, once all of it has ended.

    So does Ctrl-C. Otherwise it could take back what was made while more is being made; a second one doesn't wait.
    """
    with ThreadPoolExecutor(max_workers=len(work)) as pool:
        futures: list[Future[_T]] = [pool.submit(each) for each in work]
        wait(futures)
    return [future.result() for future in futures]


def uninterrupted(call: Callable[[], _T]) -> _T:
    """Makes a call that changes something. Ctrl-C waits for its answer, since a call on its way can't be taken back."""
    return all_at_once(call)[0]
