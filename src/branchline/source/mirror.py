"""Repositories that are given as a URL: a bare mirror of each is kept, so that later deploys fetch only what is new."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from branchline import naming
from branchline.errors import SourceError
from branchline.source.git import Git
from branchline.source.location import without_credentials

_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def mirror(url: str, cache: Path) -> Path:
    """The git directory of the URL's mirror, with the remote's branches and tags as they are now.

    A mirror that can't be brought up to date though its remote answers is made anew. Processes take turns; one that is
    killed leaves nothing that the next doesn't clear away. The credentials are used, not stored.

    Raises:
        SourceError: the remote can't be read, or the mirror can't be written.
    """
    name = naming.digest(without_credentials(url), 40)
    directory = cache / f"{name}.git"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _turn(cache / f"{name}.lock"):
            _update(directory, url, unfinished=cache / f"{name}.new")
    except OSError as error:
        raise SourceError(
            f"can't keep a mirror of {without_credentials(url)} in {cache}: {error.strerror}",
            remedy="make room, or give this user the right to write there",
        ) from None
    return directory


def _update(directory: Path, url: str, unfinished: Path) -> None:
    """Fetches into the mirror, or makes it under another name until it is whole."""
    if directory.exists():
        try:
            _fetch(directory, url)
        except SourceError:
            Git().connect("ls-remote", "--heads", "--", url, address=url)
        else:
            return
    if unfinished.exists():
        shutil.rmtree(unfinished)
    Git().read("init", "--quiet", "--bare", "--template=", "--", str(unfinished))
    _fetch(unfinished, url)
    if directory.exists():
        shutil.rmtree(directory)
    unfinished.rename(directory)


def _fetch(directory: Path, url: str) -> None:
    """Makes the mirror's branches and tags those of the remote."""
    Git(directory).connect(
        "fetch",
        "--prune",
        "--progress",
        "--no-tags",  # the refspec brings them, and prunes them
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--",
        url,
        *_REFSPECS,
        address=url,
    )


@contextmanager
def _turn(lock: Path) -> Generator[None]:
    """Waits for its turn; the kernel gives it to the next when this process ends, however it ends."""
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
