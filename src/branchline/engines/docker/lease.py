"""One writer per environment on this machine: file locks, which the kernel drops with the process that holds them.

Beside each environment's lock stands a note of the latest change that wants it. Who holds the lock, or waits for it,
watches the note: a deploy gives up when a newer commit or a deletion has put itself down there. So a newer push cancels
the build in flight, and a killed process blocks nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from branchline.cancellation import Cancellation
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError
from branchline.events import Publish, Waiting
from branchline.ports import Adjustment, Change, Deletion, Push
from branchline.precedence import gives_way, overtaken, superseded

_POLL = 0.05
"""Seconds between two looks at a lock or a note."""


@dataclass(frozen=True, slots=True)
class _Note:
    """The latest change that wants an environment."""

    ticket: int
    commit: str
    """Empty for a deletion."""
    pid: int
    started: str
    """When the process started, in the kernel's words, since process ids come round again."""

    @property
    def alive(self) -> bool:
        return _started(self.pid) == self.started


class FileLease:
    """The leases of one platform, as files in a directory that all its writers share."""

    def __init__(self, directory: Path, parallel: int) -> None:
        self._directory = directory
        self._parallel = parallel

    @contextmanager
    def turn(self, change: Change, cancellation: Cancellation, publish: Publish) -> Generator[None]:
        """See `ports.Lease.turn`."""
        path = self._path(change.environment)
        deleting = path.with_suffix(".deleting")
        ticket = 0 if isinstance(change, Adjustment) else self._announce(change, path)
        gone = threading.Event()
        pending = _share(deleting) if isinstance(change, Deletion) else None
        if isinstance(change, Push):
            threading.Thread(
                target=_watch, args=(path, ticket, change, cancellation, gone), name="lease", daemon=True
            ).start()
        try:
            why = "its deploy is being ended" if isinstance(change, Deletion) else "another deploy of it is running"
            # A deletion that came before this push has its turn before it, or it would remove what the push made.
            first = deleting if isinstance(change, Push) else None
            lock = _wait_for(path, cancellation, lambda: publish(Waiting(change.environment, why)), first)
            try:
                cancellation.check()
                yield
            finally:
                path.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is stale
                os.close(lock)
        finally:
            gone.set()
            self._forget(path, ticket)
            if pending is not None:
                deleting.unlink(missing_ok=True)
                os.close(pending)

    @contextmanager
    def slot(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> Generator[None]:
        """See `ports.Lease.slot`."""
        told = False
        while True:
            for number in range(self._parallel):
                lock = _try(self._writable() / f"slot-{number}")
                if lock is not None:
                    try:
                        yield
                    finally:
                        os.close(lock)
                    return
            if not told:
                told = True
                publish(Waiting(environment, f"{self._parallel} other deploys are running, which is the limit"))
            cancellation.wait(_POLL)

    @contextmanager
    def project(self, project: str) -> Generator[None]:
        """A short lock that keeps the removal of a project's images apart from deploys that begin."""
        lock = _wait_for(self._writable() / f"{project}.images", Cancellation(), lambda: None)
        try:
            yield
        finally:
            os.close(lock)

    def held(self, environment: EnvironmentId) -> bool:
        """Whether some process has its turn at the environment now."""
        return _is_held(self._path(environment, create=False), fcntl.LOCK_SH)

    def _announce(self, change: Push | Deletion, path: Path) -> int:
        """Puts the change down as the latest one; returns its ticket. An older commit than the present one gives up."""
        with self._notes():
            latest = _read(path)
            commit = change.commit if isinstance(change, Push) else ""
            if isinstance(change, Push) and latest is not None and latest.alive and gives_way(change, latest.commit):
                raise superseded(change, latest.commit)
            ticket = max(latest.ticket if latest else 0, time.monotonic_ns()) + 1
            note = _Note(ticket, commit, os.getpid(), _started(os.getpid()))
            scratch = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            try:
                scratch.write_text(json.dumps(asdict(note)))
                scratch.replace(_note_path(path))
            except OSError as error:
                scratch.unlink(missing_ok=True)
                raise _unwritable(self._directory, error) from error
            return ticket

    def _forget(self, path: Path, ticket: int) -> None:
        if not ticket:
            return
        with self._notes():
            latest = _read(path)
            if latest is not None and latest.ticket == ticket:
                _note_path(path).unlink(missing_ok=True)

    @contextmanager
    def _notes(self) -> Generator[None]:
        lock = _wait_for(self._writable() / "notes", Cancellation(), lambda: None)
        try:
            yield
        finally:
            os.close(lock)

    def _writable(self) -> Path:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self._directory, error) from error
        return self._directory

    def _path(self, environment: EnvironmentId, *, create: bool = True) -> Path:
        directory = self._writable() if create else self._directory
        return directory / f"{environment.project}.{environment.slug}.lock"


def _watch(path: Path, ticket: int, push: Push, cancellation: Cancellation, gone: threading.Event) -> None:
    """Cancels the deploy as soon as a later change of another kind has put itself down."""
    while not gone.wait(_POLL):
        latest = _read(path)
        reason = overtaken(push, latest.commit) if latest is not None and latest.ticket > ticket else None
        if reason is not None:
            cancellation.cancel(reason)
            return


def _share(path: Path) -> int:
    """Holds the file's lock together with others that do the same."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _is_held(path: Path, kind: int) -> bool:
    """Whether some process holds the file's lock so that one of this kind can't be had."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _wait_for(
    path: Path, cancellation: Cancellation, when_waiting: Callable[[], None], first: Path | None = None
) -> int:
    """Locks the file, and says so once if it has to wait for that."""
    told = False
    while (first is not None and _is_held(first, fcntl.LOCK_EX)) or (lock := _try(path)) is None:
        if not told:
            told = True
            when_waiting()
        cancellation.wait(_POLL)
    return lock


def _try(path: Path) -> int | None:
    """Locks the file if it is free. A lock on a file that was removed meanwhile is worth nothing, so it is let go."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise ConfigurationError(
            f"can't lock {path}: another user's", remedy="run every branchline of a platform as the same user"
        ) from error
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.fstat(lock).st_ino == path.stat().st_ino:
                return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _unwritable(directory: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"can't write to the state directory {directory}: {error.strerror}",
        remedy="mend that, or choose another with BRANCHLINE_STATE_DIR or state_dir in platform.toml",
    )


def _note_path(path: Path) -> Path:
    return path.with_suffix(".wanted")


def _read(path: Path) -> _Note | None:
    try:
        return _Note(**json.loads(_note_path(path).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _started(pid: int) -> str:
    """The process's start time from /proc (proc(5): field 22 of stat), or '' where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
