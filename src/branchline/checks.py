"""What `branchline doctor` finds, and its checks of what every engine needs of this machine."""

from __future__ import annotations

import platform as machine
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from branchline import __version__

Result = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    result: Result
    finding: str
    remedy: str = ""


def versions() -> Check:
    """Branchline's own version, and what it runs on."""
    return Check("branchline", "ok", f"{__version__} on Python {machine.python_version()}, {machine.system()}")


def git() -> Check:
    """Whether git can be run."""
    try:
        answer = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return Check("git", "failure", "git can't be run", "install it, for example with: apt-get install git")
    return Check("git", "ok", answer.stdout.strip().removeprefix("git version "))


def state(directory: Path) -> Check:
    """Tries it, since neither a full disk nor one mounted read-only shows in the rights."""
    try:
        existing = next(path for path in (directory, *directory.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))
    except OSError as error:
        return Check(
            "state",
            "failure",
            f"{directory} can't be written to: {error.strerror}",
            "mend that, or set BRANCHLINE_STATE_DIR to a directory of yours",
        )
    return Check("state", "ok", f"{directory} is writable")
