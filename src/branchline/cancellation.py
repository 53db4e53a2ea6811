"""Stopping work in flight: a deploy ends early when a newer change supersedes it, its branch is deleted, or time is up.

Work that waits asks `check()` between steps; work that blocks on a connection registers how to unblock itself with
`interrupted_by`. Whoever cancels gives the error that the work then ends with. Ctrl-C needs none of this: Python raises
KeyboardInterrupt where the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from branchline.errors import BranchlineError, TimedOutError


class Cancellation:
    """One deploy's reason to stop, once there is one. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._happened = threading.Event()
        self._reason: BranchlineError | None = None
        self._unblock: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether there is a reason to stop."""
        return self._happened.is_set()

    def cancel(self, reason: BranchlineError) -> None:
        """Ends the work with `reason`. The first reason stays."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            self._happened.set()
            unblock = tuple(self._unblock)
        for function in unblock:
            # What it would unblock may have ended by itself just now; that must not keep the others blocked.
            with suppress(Exception):
                function()

    def check(self) -> None:
        """Returns at once, or raises the reason to stop."""
        if self._reason is not None:
            raise self._reason

    def wait(self, seconds: float) -> None:
        """Sleeps, but raises the reason to stop as soon as there is one."""
        self._happened.wait(seconds)
        self.check()

    @contextmanager
    def interrupted_by(self, unblock: Callable[[], None]) -> Generator[None]:
        """Within the block, a cancellation calls `unblock` (from another thread), such as a connection's shutdown.

        An error that the block ends with after that is a consequence, so the reason to stop is raised in its place.
        """
        with self._lock:
            self._unblock.append(unblock)
        try:
            self.check()
            yield
        except Exception as error:
            if self._reason is not None and error is not self._reason:
                raise self._reason from error
            raise
        finally:
            with self._lock:
                self._unblock.remove(unblock)
        self.check()

    @contextmanager
    def deadline(self, seconds: float | None) -> Generator[threading.Event]:
        """Within the block, cancels the work when `seconds` have passed; None is no limit.

        Gives an event: setting it ends the limit before the block ends, once what it is for is done.
        """
        done = threading.Event()
        if seconds is None:
            yield done
            return

        def expire() -> None:
            if not done.wait(seconds):
                self.cancel(
                    TimedOutError(
                        f"not done within {seconds:g} seconds",
                        remedy="allow more time with --timeout, or see what took so long",
                    )
                )

        threading.Thread(target=expire, name="deadline", daemon=True).start()
        try:
            yield done
        finally:
            done.set()
