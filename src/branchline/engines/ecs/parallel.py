"""Independent calls at the same time: each takes AWS some 50 to 100 ms. And calls that Ctrl-C doesn't tear apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

_T = TypeVar("_T")


def all_at_once(*work: Callable[[], _T]) -> list[_T]:
    """Does independent work in threads; raises the first error, once all of it has ended.

    So does Ctrl-C, which otherwise could have things taken back while more are being made; a second one doesn't wait.
    """
    futures: list[Future[_T]] = [Future() for _ in work]
    try:
        for future, each in zip(futures, work, strict=True):
            threading.Thread(target=_do, args=(future, each)).start()
        wait(futures)
    except BaseException:
        wait([future for future in futures if not future.cancel()])  # what hasn't begun can be cancelled
        raise
    return [future.result() for future in futures]


def uninterrupted(call: Callable[[], _T]) -> _T:
    """Makes a call that changes something. Ctrl-C waits for its answer, since a call on its way can't be taken back."""
    return all_at_once(call)[0]


def _do(future: Future[_T], work: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
        future.set_exception(error)
