"""Which repository of which forge a clone URL means."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from branchline import naming

_PORTS = {"http": 80, "https": 443}


def path_on(repository: str, base: str) -> str:
    """The repository's path on the forge at `base`, such as `team/shop`; '' where it isn't there.

    Over HTTP the port has to be the forge's too. Over ssh it is another one in any case.

    Args:
        repository: a clone URL: with https or ssh, or as scp has it.
        base: the forge's own URL, maybe with a path.
    """
    host, _, path = naming.repository_key(repository).partition("/")
    forge = urlsplit(base)
    if not host or host != (forge.hostname or ""):
        return ""
    scheme = repository.partition("://")[0].lower()
    if scheme in _PORTS and _port(repository) != _port(base):
        return ""
    prefix = forge.path.strip("/")
    if prefix:
        path = path.removeprefix(f"{prefix}/")
    return path if "/" in path else ""


def _port(url: str) -> int | None:
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.port or _PORTS.get(parts.scheme.lower())
    return None
