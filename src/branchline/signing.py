"""The secrets that forges sign their webhooks with, on one machine: a file that only its owner may read.

Two are valid at once, the present one and the one before, so that a secret can be changed while deliveries come in.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from branchline.errors import ConfigurationError

BYTES = 32
"""Of a secret: as many as HMAC-SHA256's output has (RFC 2104, section 3)."""


def new_secret() -> str:
    """A secret for forges to sign with."""
    return secrets.token_urlsafe(BYTES)


class Secrets(Protocol):
    """What forges sign their webhooks with. Those that are valid, the present one first, then the one before."""

    def read(self) -> tuple[str, ...]:
        """The valid ones, at least one.

        Raises:
            BranchlineError: they can't be read.
        """
        ...

    def rotate(self) -> tuple[str, ...]:
        """Makes a new one the present one, and the present one the one before; returns the valid ones."""
        ...


@dataclass(frozen=True, slots=True)
class FileSecrets:
    """See `Secrets`."""

    file: Path

    def read(self) -> tuple[str, ...]:
        """See `Secrets.read`. The first time, one is made."""
        if valid := self._read():
            return valid
        with self._writing():
            return self._read() or self._write((new_secret(),))

    def rotate(self) -> tuple[str, ...]:
        """See `Secrets.rotate`."""
        with self._writing():
            return self._write((new_secret(), *self._read()[:1]))

    def _read(self) -> tuple[str, ...]:
        """What the file holds; empty where there is no file."""
        try:
            found: object = json.loads(self.file.read_text("utf-8"))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise ConfigurationError(
                f"{self.file} can't be read: {reason}", remedy="correct its permissions, or remove it for a new secret"
            ) from error
        listed = cast("list[object]", found) if isinstance(found, list) else []
        valid = tuple(item for item in listed if isinstance(item, str) and item)
        if not valid:
            raise ConfigurationError(f"{self.file} holds no secret", remedy="remove it for a new one")
        return valid

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Within the block, no other process writes: a secret that a forge was just given must not be lost to it."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.with_name(f".{self.file.name}.lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ConfigurationError(
                f"{self.file} can't be written: {error.strerror}", remedy="check the directory's owner and the disk"
            ) from error

    def _write(self, valid: tuple[str, ...]) -> tuple[str, ...]:
        """Puts the file in place as a whole."""
        made = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
                json.dump(valid, new)
            made.replace(self.file)
        except OSError:
            with suppress(OSError):
                made.unlink()
            raise
        return valid
