"""Hands events to those who tell people, so that none of them holds the work up or makes it fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from branchline.errors import BranchlineError
from branchline.events import Event

if TYPE_CHECKING:
    from branchline.telling import About, Notifier


class Dispatch:
    """Tells each notifier of each event, in order, from a thread of its own.

    `about` is said of every event for which `publish` isn't given something better.
    """

    def __init__(self, notifiers: Sequence[Notifier], about: About) -> None:
        self._about = about
        self._listeners = [_Listener(notifier) for notifier in notifiers]

    def publish(self, event: Event, about: About | None = None) -> None:
        """Returns at once, and never raises."""
        for listener in self._listeners:
            listener.tell(event, about or self._about)

    def finish(self, timeout: float = 5.0) -> list[str]:
        """Waits until everybody has been told, for at most `timeout` seconds in all; no event may come after it.

        Returns what couldn't be told, a line a notifier at most. What is still on its way then is left to itself, and
        ends with the process at the latest.
        """
        deadline = time.monotonic() + timeout
        for listener in self._listeners:
            listener.end()
        return [line for listener in self._listeners if (line := listener.problem(deadline))]


class _Listener:
    """A notifier, and what it still has to hear."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._events: SimpleQueue[tuple[Event, About] | None] = SimpleQueue()
        self._problem = ""
        # Not Thread.join: where that is interrupted, Python 3.11 takes the thread for ended.
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"tells {notifier.name}", daemon=True).start()

    def tell(self, event: Event, about: About) -> None:
        self._events.put((event, about))

    def end(self) -> None:
        self._events.put(None)

    def problem(self, deadline: float) -> str:
        """The first thing that went wrong, in one line; empty if all went well."""
        done = self._done.wait(max(0.0, deadline - time.monotonic()))
        late = "" if done else "still not told, and not waited for any longer"
        problem = self._problem or late
        return f"{self._notifier.name}: {problem}" if problem else ""

    def _run(self) -> None:
        while (told := self._events.get()) is not None:
            try:
                self._notifier.hear(*told)
            except BranchlineError as error:
                advice = f"; {error.remedy}" if error.remedy else ""
                self._problem = self._problem or " ".join(f"{error.message}{advice}".split())
            except Exception as error:  # noqa: BLE001 - a defect of a notifier's; its words may hold a secret
                self._problem = self._problem or f"a defect, please report it: {type(error).__name__}"
        self._done.set()
