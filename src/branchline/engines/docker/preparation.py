"""Work that goes on while the image is being built, and that the release needs after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Preparation(Generic[T]):
    """One piece of such work, in a thread of its own from the start."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        # Not a daemon: an interrupted command waits for it here, so that it knows what there is to take back.
        self._thread = threading.Thread(target=self._run, name="preparation")
        self._thread.start()

    def result(self) -> T:
        """Waits for the work; returns its outcome, or raises its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    def end(self) -> None:
        """Waits for the work, whatever comes of it."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error
