"""What makes settings impossible although each value, for itself, is of the right type and shape."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from branchline import naming
from branchline.errors import ConfigurationError
from branchline.settings.application import Application
from branchline.settings.keys import Path
from branchline.settings.platform import PlatformSettings

_PRIVATE = tuple(ipaddress.IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""RFC 1918, section 3."""


class Problem(NamedTuple):
    """Something wrong with a key's value."""

    path: Path
    message: str
    other: Path | None = None
    """The other key, where two don't go together."""


def application_problems(application: Application) -> Iterator[Problem]:
    """What is wrong with an application's settings."""
    if application.project is not None:
        yield from _name(("project",), application.project, "project", naming.PROJECT_LENGTH)


def platform_problems(settings: PlatformSettings) -> Iterator[Problem]:
    """What is wrong with a platform's settings."""
    yield from _name(("platform",), settings.platform, "platform", naming.PLATFORM_LENGTH)
    yield from _bind(settings.router.bind)
    yield from _subnets(settings.docker.subnets)
    router = settings.router
    if router.https != "off" and router.http_port == router.https_port:
        message = f"expected another port than router.http_port, got {router.https_port} for both"
        yield Problem(("router", "https_port"), message, ("router", "http_port"))
    local = settings.domain == "localhost" or settings.domain.endswith(".localhost")
    if router.https == "acme" and local and not router.acme_directory:
        message = (
            f"no public authority certifies the domain {settings.domain}; "
            'set domain to a real one, or use "internal" for certificates of the router\'s own'
        )
        yield Problem(("router", "https"), message, ("domain",))


def _name(path: Path, name: str, what: str, length: int) -> Iterator[Problem]:
    """The naming module's own objection to a name."""
    try:
        naming.check_name(name, f"{what}'s name", length)
    except ConfigurationError as error:
        yield Problem(path, f"{error.message}; {error.remedy}")


def _bind(address: str) -> Iterator[Problem]:
    """The router listens on an address of this machine, not on a name."""
    try:
        ipaddress.ip_address(address or "0.0.0.0")  # noqa: S104 (empty is allowed)
    except ValueError:
        yield Problem(("router", "bind"), f"expected an IP address such as 127.0.0.1, got {address!r}")


def _subnets(text: str) -> Iterator[Problem]:
    """Environments' networks must not take public addresses, and need room: 8 networks of a /27 make a /24."""
    path = ("docker", "subnets")
    wanted = 'expected a private IPv4 range of a /24 or larger, such as "10.213.0.0/16"'
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        yield Problem(path, f"{wanted}, got {text!r}")
        return
    if str(network) != text:
        yield Problem(path, f"{text!r} is not the start of a range; {str(network)!r} would be")
    elif network.prefixlen > 24 or not any(network.subnet_of(private) for private in _PRIVATE):
        yield Problem(path, f"{wanted} (in {', '.join(map(str, _PRIVATE))}), got {text!r}")
