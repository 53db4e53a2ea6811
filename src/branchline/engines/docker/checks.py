"""What `branchline doctor` looks at on one machine: what each check found, and the remedy where that is not well."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from branchline import checks, labels
from branchline.checks import Check, Result
from branchline.engines.docker import firewall
from branchline.engines.docker.client import Client
from branchline.engines.docker.records import EngineInfo
from branchline.engines.docker.router import config, listening
from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.program import find_caddy
from branchline.errors import BranchlineError, RouterError
from branchline.settings.platform import PlatformSettings

_GIB = 1 << 30
_LITTLE_DISK, _ENOUGH_DISK = 1 * _GIB, 5 * _GIB
_OLDEST_ENGINE = (20, 10)
_MANY_NETWORKS = 300


def run(settings: PlatformSettings, directory: Path) -> list[Check]:
    """Every check; those that need the engine only where it answers."""
    found = [checks.versions(), checks.git()]
    try:
        client = Client(settings.docker.host)
        info = client.info()
    except BranchlineError as error:
        return [*found, Check("engine", "failure", error.message, error.remedy), *_router(settings, directory)]
    found += [_engine(client, info), *_engine_disk(info), _environments(client, settings)]
    found += [*_router(settings, directory), checks.state(directory), _isolation(settings), _name(settings)]
    return found


def for_building(settings: PlatformSettings) -> Check:
    """The engine that images are built with on this machine, where they run elsewhere; some are built elsewhere too."""
    try:
        client = Client(settings.docker.host, anywhere=True)
        info = client.info()
    except BranchlineError as error:
        elsewhere = "deploy images that are built elsewhere: branchline deploy --image REF"
        remedy = f"{error.remedy}; or {elsewhere}" if error.remedy else elsewhere
        return Check("builder", "warning", f"no image can be built here: {error.message}", remedy)
    return Check("builder", "ok", _described(client, info))


def _engine(client: Client, info: EngineInfo) -> Check:
    text = _identified(client, info)
    numbers = tuple(int(part) for part in info.version.split(".")[:2] if part.isdecimal())
    if "Docker Desktop" in info.operating_system:
        return Check(
            "engine",
            "failure",
            f"{text}; Docker Desktop runs it in a virtual machine, whose containers can't be reached from here",
            "run branchline on a Linux machine, or inside a Linux virtual machine with its own engine",
        )
    if numbers < _OLDEST_ENGINE:
        return Check(
            "engine", "warning", f"{text}; older than any that Branchline is tested with", "update to 20.10 or later"
        )
    return Check("engine", "ok", _described(client, info))


def _described(client: Client, info: EngineInfo) -> str:
    builder = "BuildKit" if client.builds_with_buildkit else "the classic builder"
    return f"{_identified(client, info)}, builds with {builder}"


def _identified(client: Client, info: EngineInfo) -> str:
    return f"{info.version} (API {info.api_version}) at {client.address}, {info.processors} processors"


def _engine_disk(info: EngineInfo) -> Iterator[Check]:
    try:
        free = shutil.disk_usage(info.root_dir).free
    except OSError:
        yield Check(
            "disk", "warning", f"{info.root_dir} can't be looked at by this user", "look yourself: docker system df"
        )
        return
    text = f"{free / _GIB:.1f} GiB free for images and containers in {info.root_dir}"
    remedy = "free some: branchline reap, docker builder prune, docker image prune"
    result: Result = "ok"
    if free < _ENOUGH_DISK:
        result = "failure" if free < _LITTLE_DISK else "warning"
    yield Check("disk", result, text, "" if result == "ok" else remedy)


def _environments(client: Client, settings: PlatformSettings) -> Check:
    count = len(client.networks({labels.PLATFORM: settings.platform}))
    text = f"{count} of platform {settings.platform!r}"
    if count > _MANY_NETWORKS:
        return Check(
            "environments",
            "warning",
            f"{text}; the engine's own restart takes a second for eight of them",
            "reap, or use more machines",
        )
    return Check("environments", "ok", text)


def _router(settings: PlatformSettings, directory: Path) -> Iterator[Check]:
    try:
        caddy = find_caddy()
        status = Router(settings, directory / "router").status()
    except BranchlineError as error:
        yield Check("router", "failure", error.message, error.remedy)
        return
    if status.running:
        yield Check("router", "ok", f"running as process {status.pid}, listening on {', '.join(status.addresses)}")
        return
    yield Check("router", "ok", f"not running; the next deploy starts {caddy}")
    for address in config.wanted(settings, ipv6=listening.has_ipv6_loopback()):
        try:
            listening.check(address)
        except RouterError as error:
            yield Check("port", "failure", error.message, error.remedy)
        else:
            yield Check("port", "ok", f"{address} is free")


def _isolation(settings: PlatformSettings) -> Check:
    state = firewall.state(settings.platform)
    if state.status is firewall.Status.CLOSED:
        return Check("isolation", "ok", "containers can't reach this machine's services or link-local addresses")
    return Check("isolation", "warning", state.reason, state.remedy)


def _name(settings: PlatformSettings) -> Check:
    """`*.localhost` needs no DNS in browsers and curl (RFC 6761, section 6.3); a real domain needs a record."""
    if settings.domain == "localhost":
        return Check("domain", "ok", "*.localhost resolves to this machine in browsers and curl")
    name = f"branchline-doctor.{settings.domain}"
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return Check(
            "domain",
            "failure",
            f"{name} doesn't resolve",
            f"add a wildcard DNS record for *.{settings.domain} to this machine",
        )
    return Check("domain", "ok", f"*.{settings.domain} resolves to {address}")
