"""What a release may use: an application's limits, and the operator's ceilings above them."""

from __future__ import annotations

import re

from branchline.errors import ConfigurationError
from branchline.settings import patterns
from branchline.settings.application import Application, Limits
from branchline.settings.platform import PlatformSettings

_BYTES = {"k": 2**10, "m": 2**20, "g": 2**30}


def memory_bytes(text: str) -> int:
    """The bytes that "512m" or "2g" stands for; the units are powers of 1024, as Docker has them.

    Raises:
        ConfigurationError: it doesn't read so, or is less than Docker accepts.
    """
    if not re.search(patterns.MEMORY, text):
        raise ConfigurationError(
            f"{text!r} is no amount of memory", remedy='write it as "512m" or "2g"; the least is "6m"'
        )
    return int(text[:-1]) * _BYTES[text[-1].lower()]


def check_limits(application: Application, platform: PlatformSettings, where: str) -> None:
    """Returns if the operator allows what the application asks for; `where` is how its file is called in errors.

    Raises:
        ConfigurationError: names each limit that is above its ceiling, and both values.
    """
    asked, ceiling = application.limits, platform.limits
    above: list[str] = []
    if memory_bytes(asked.memory) > memory_bytes(ceiling.memory):
        above.append(_above(where, "memory", asked.memory, ceiling.memory))
    if asked.cpus > ceiling.cpus:
        above.append(_above(where, "cpus", f"{asked.cpus:g}", f"{ceiling.cpus:g}"))
    if asked.pids > ceiling.pids:
        above.append(_above(where, "pids", str(asked.pids), str(ceiling.pids)))
    if above:
        raise ConfigurationError(
            "\n".join(above), remedy="ask for less, or have the operator raise the platform's ceiling"
        )


def _above(where: str, name: str, asked: str, ceiling: str) -> str:
    """One limit that is above its ceiling. The default is above a low one too, with no such key in the file."""
    default = f"{getattr(Limits(), name)}"
    said = f"{asked} (the default)" if default in {asked, f"{asked}.0"} else asked
    return f"{where}: limits.{name}: {said} is above the ceiling of {ceiling} that the platform's limits.{name} sets"
