"""Where a repository is: a path or a URL, and the URL without its credentials."""

from __future__ import annotations

import os
import re
from pathlib import Path

from branchline.errors import ConfigurationError

_SCHEMES = ("https", "http", "ssh", "git", "file")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)")
_REMOTE_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")
_SCP_LIKE = re.compile(r"(?:[^/:@]+@)?(?:\[[^\]/]+\]|[^/:\[]+):.")
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/\s]*)@")
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")


def is_url(location: str) -> bool:
    """Whether git would connect to this; otherwise it is a path. What exists as a path is one.

    Raises:
        ConfigurationError: it is neither, or a kind of URL that could run a command of its writer's choice.
    """
    if not location or location.startswith("-") or "\0" in location:
        raise ConfigurationError(
            f"{without_credentials(location)!r} is neither a path nor a URL",
            remedy="name a directory, or a URL such as https://host/owner/project.git or git@host:owner/project.git",
        )
    if os.path.exists(location):  # noqa: PTH110 - Path.exists raises for a name too long for the file system
        return False
    scheme = _SCHEME.match(location)
    if _REMOTE_HELPER.match(location) or (scheme and scheme[1].lower() not in _SCHEMES):
        raise ConfigurationError(
            f"branchline doesn't read repositories by {location.partition(':')[0]!r}",
            remedy=f"use one of {', '.join(_SCHEMES)}, or a path",
        )
    if scheme and not _HOST_AND_PORT.fullmatch(scheme[2].rpartition("@")[2]):
        # Not quoted in the message: a password with an unescaped slash gets here, and would be shown.
        raise ConfigurationError(
            f"the {scheme[1]} URL has a port that is not a number",
            remedy="in a user name or password, write / as %2F, : as %3A and @ as %40",
        )
    return bool(scheme or _SCP_LIKE.match(location))


def without_credentials(text: str) -> str:
    """A URL, or a text that holds URLs, without user names and passwords. The user of an ssh URL is no secret."""

    def replacement(match: re.Match[str]) -> str:
        scheme, user_info = match.groups()
        user = user_info.partition(":")[0]
        return f"{scheme}://{user}@" if scheme.lower() == "ssh" and user else f"{scheme}://"

    return _USER_INFO.sub(replacement, text)


def absolute(url: str, base: Path) -> str:
    """A remote's URL as it can be read from anywhere: a path in it starts at `base`."""
    if _SCHEME.match(url) or _REMOTE_HELPER.match(url) or _SCP_LIKE.match(url):
        return url
    return str((base / url).resolve())


def last_part(url: str) -> str:
    """The name that a URL or path ends with; maybe with `.git`."""
    return re.split(r"[/:]", url.rstrip("/").removesuffix("/.git"))[-1]
