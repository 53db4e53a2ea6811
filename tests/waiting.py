"""Waiting in tests: on a condition, with a deadline, for a reason that a time-out tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T | None], reason: str, timeout: float = 10, interval: float = 0.05) -> T:
    """Asks until the answer is true, and returns it.

    An answer that is an AssertionError, raised by the condition, counts as "not yet". Any other error ends the wait.

    Args:
        condition: asked every `interval` seconds.
        reason: what is waited for, for whoever reads the failure: "the router serves the new release".
        timeout: seconds after which the wait fails.

    Raises:
        AssertionError: it took longer than `timeout`; says the reason and the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = condition()
            last = f"the last answer was {answer!r}"
        except AssertionError as error:
            answer = None
            last = f"the last answer was: {error}"
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {reason}; {last}")
        time.sleep(interval)
