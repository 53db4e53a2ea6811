"""Bookmarks in files, for a platform on one machine."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from branchline import labels
from branchline.errors import BranchlineError

if TYPE_CHECKING:
    from branchline.environment import EnvironmentId


@dataclass(frozen=True, slots=True)
class FileBookmarks:
    """A file a bookmark, each replaced as a whole, so that writers don't get in each other's way."""

    directory: Path

    def read(self, environment: EnvironmentId, name: str) -> str:
        """See `telling.Bookmarks.read`. A file that is damaged counts as none."""
        try:
            kept: object = json.loads(self._file(environment, name).read_bytes())
        except (OSError, ValueError, RecursionError):
            return ""
        value = cast("dict[str, object]", kept).get("value") if isinstance(kept, dict) else None
        return value if isinstance(value, str) else ""

    def write(self, environment: EnvironmentId, name: str, value: str) -> None:
        """See `telling.Bookmarks.write`.

        Raises:
            BranchlineError: the directory can't be written to.
        """
        file = self._file(environment, name)
        # The file's name has only the slug; the branch is for whoever looks into it.
        content = json.dumps({"branch": labels.branch_value(environment.branch), "value": value})
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, made = tempfile.mkstemp(prefix=f".{file.name}.", dir=self.directory)  # for its owner alone
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as new:
                    new.write(content)
                Path(made).replace(file)
            except BaseException:
                Path(made).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise BranchlineError(
                f"{self.directory} can't be written to: {error.strerror}",
                remedy="check its owner and the disk, or set state_dir elsewhere",
            ) from error

    def forget(self, environment: EnvironmentId) -> None:
        """See `telling.Bookmarks.forget`."""
        for file in self.directory.glob(f"{_prefix(environment)}*.json"):
            with suppress(OSError):
                file.unlink()

    def _file(self, environment: EnvironmentId, name: str) -> Path:
        return self.directory / f"{_prefix(environment)}{name}.json"


def _prefix(environment: EnvironmentId) -> str:
    """What the names of an environment's files start with; neither part holds a dot."""
    return f"{environment.project}.{environment.slug}."
