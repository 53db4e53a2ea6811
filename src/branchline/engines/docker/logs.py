"""Follows what a branch's releases print, one after the other: across crashes, sleep and redeploys, until its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from branchline import labels
from branchline.engines.docker import inventory
from branchline.engines.docker.client import Client
from branchline.engines.docker.records import Container
from branchline.printable import printable

_POLL = 0.2
"""Seconds between two looks at a container that doesn't run."""
_ASLEEP_AFTER = 1.0
"""Seconds after which a container that doesn't run is said to sleep; one that is being removed is gone by then."""


def follow(
    client: Client, branch: str, container: Container, tail: int | None, serving: Callable[[], Container | None]
) -> Iterator[bytes]:
    """What the container prints, and then what those print that `serving` names after it.

    A line of its own that starts with `---` tells of each change: it is not the application's.
    """
    log, present = _Log(client, container.id, tail), container
    while True:
        yield from log.read()
        ended, told = time.monotonic(), False
        while (found := serving()) is not None and found.id == present.id and found.state != "running":
            if inventory.asleep(found) and not told and time.monotonic() - ended > _ASLEEP_AFTER:
                told = True
                yield log.word(f"{branch} sleeps")
            time.sleep(_POLL)
        if found is None:
            yield log.word(f"{branch} was destroyed")
            return
        if found.id != present.id:
            number, commit = inventory.release_number(found.labels), found.labels.get(labels.COMMIT, "")
            yield log.word(f"release {number}, commit {commit[:12]}")
            log, present = _Log(client, found.id, None), found


class _Log:
    """One container's log, and how far it has been read."""

    def __init__(self, client: Client, container: str, tail: int | None) -> None:
        self._client = client
        self._container = container
        self._tail = tail
        self._time = ""
        self._pieces = 0
        """How many pieces of that very time were read: the parts of a long line have one time."""
        self._in_a_line = False

    def read(self) -> Iterator[bytes]:
        """What is new, until the container ends. A later call goes on from there, and says that it started again."""
        again = bool(self._time)
        for piece in self._new(follow=True):
            if again:
                again = False
                yield self.word("started again")
            self._in_a_line = not piece.endswith(b"\n")
            yield piece
        for piece in self._new(follow=False):  # the engine's following may end before a last line without an end
            self._in_a_line = not piece.endswith(b"\n")
            yield piece

    def word(self, text: str) -> bytes:
        """A line that is not the container's, below what it printed last."""
        begin, self._in_a_line = "\n" if self._in_a_line else "", False
        return f"{begin}--- {printable(text)} ---\n".encode()

    def _new(self, *, follow: bool) -> Iterator[bytes]:
        known = self._pieces
        for when, piece in self._client.log_entries(self._container, follow=follow, tail=self._tail, since=self._time):
            if when < self._time:
                continue
            if when == self._time and known:
                known -= 1
                continue
            self._pieces = self._pieces + 1 if when == self._time else 1
            self._time, self._tail = when, None
            yield piece
