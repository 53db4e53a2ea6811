"""Follows what a branch's releases print, one after the other: across crashes, sleep and redeploys, until its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

from branchline import labels
from branchline.engines.docker import inventory
from branchline.engines.docker.client import Client
from branchline.engines.docker.records import Container

_POLL = 0.2
"""Seconds between two looks at a container that doesn't run."""
_ASLEEP_AFTER = 1.0
"""Seconds after which a container that doesn't run is said to sleep; one that is being removed is gone by then."""


def follow(
    client: Client, branch: str, container: Container, tail: int | None, serving: Callable[[], Container | None]
) -> Iterator[bytes]:
    """What the container prints, and then what those print that `serving` names after it.

    A line that starts with `---` tells of each change: it is not the application's.
    """
    position, line_open = "", False
    while True:
        position, line_open = yield from _read(client, container, tail, position, line_open)
        present = yield from _wait_until_it_prints(branch, container, serving, line_open)
        if present is None:
            return
        tail = None if position else tail
        if present.id != container.id:
            yield _word(_release(present), line_open)
            container, tail, position, line_open = present, None, "", False


def _read(
    client: Client, container: Container, tail: int | None, position: str, line_open: bool
) -> Generator[bytes, None, tuple[str, bool]]:
    """From the position until the container ends; returns where that was, and whether in the midst of a line."""
    begun_before = bool(position)
    for when, piece in client.follow(container.id, tail, position):
        if begun_before:
            begun_before = False
            yield _word("started again", line_open)
        position, line_open = when, not piece.endswith(b"\n")
        yield piece
    return position, line_open


def _wait_until_it_prints(
    branch: str, container: Container, serving: Callable[[], Container | None], line_open: bool
) -> Generator[bytes, None, Container | None]:
    """Returns the container whose turn it is to be read, which may be the same one again; None where there is none."""
    ended, told = time.monotonic(), False
    while True:
        present = serving()
        if present is None:
            yield _word(f"{branch} has no release any more", line_open and not told)
            return None
        if present.id != container.id or present.state == "running":
            return present
        if inventory.asleep(present) and not told and time.monotonic() - ended > _ASLEEP_AFTER:
            told = True
            yield _word(f"{branch} sleeps", line_open)
        time.sleep(_POLL)


def _release(container: Container) -> str:
    number, commit = inventory.release_number(container.labels), container.labels.get(labels.COMMIT, "")
    return f"release {number}, commit {commit[:12]}"


def _word(text: str, line_open: bool) -> bytes:
    begin = "\n" if line_open else ""
    return f"{begin}--- {text} ---\n".encode("utf-8", "surrogateescape")
