"""What the engine tells and is told, as data. No vendor type leaves `client`.

Structs, and not dataclasses, since those take half a millisecond each to define, which every command would wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Container(Struct, frozen=True):
    """A line of the engine's container list."""

    id: str
    name: str
    state: str
    """created, running, paused, restarting, removing, exited or dead."""
    status: str
    """The engine's words for people, such as `Up 2 minutes (unhealthy)`."""
    labels: Mapping[str, str]
    image_id: str
    address: str
    """Its fixed address in the environment's network, whether or not it runs now."""


class ContainerDetails(Struct, frozen=True):
    """One container's state as its inspection tells it."""

    running: bool
    exit_code: int
    out_of_memory: bool
    error: str
    pid: int
    health: str
    """starting, healthy or unhealthy; empty where the image has no HEALTHCHECK."""
    health_output: str
    """What the last health check printed."""


class Volume(Struct, frozen=True):
    """A volume; Branchline uses empty ones as records, since their labels need no image and no process."""

    name: str
    labels: Mapping[str, str]


class Network(Struct, frozen=True):
    """A network."""

    id: str
    name: str
    labels: Mapping[str, str]
    subnet: str


class ImageSummary(Struct, frozen=True):
    """A line of the engine's image list."""

    id: str
    references: tuple[str, ...]
    labels: Mapping[str, str]


class ImageDetails(Struct, frozen=True):
    """One image's own configuration."""

    id: str
    ports: tuple[str, ...]
    """What EXPOSE says, such as `8000/tcp`."""
    env: Mapping[str, str]
    healthcheck: tuple[str, ...]
    """HEALTHCHECK's test as the image has it, such as `("CMD-SHELL", "curl -f localhost")`; empty without one."""
    labels: Mapping[str, str]
    architecture: str
    """As Go names it: `amd64` or `arm64`."""


class ContainerSpec(Struct, frozen=True):
    """A container to create."""

    name: str
    image: str
    labels: Mapping[str, str]
    env: Mapping[str, str]
    network: str
    address: str
    memory: int
    """Bytes."""
    cpus: float
    pids: int
    stop_timeout: int
    """Seconds between SIGTERM and SIGKILL."""
    capabilities: tuple[str, ...]
    aliases: tuple[str, ...] = ()


class EngineInfo(Struct, frozen=True):
    """The engine itself."""

    version: str
    api_version: str
    operating_system: str
    name: str
    root_dir: str
    processors: int
    memory: int
    containers: int
    images: int
    warnings: tuple[str, ...] = ()


def read_container(raw: Any) -> Container:
    """From a line of the container list."""
    address = ""
    for endpoint in _mapping(_mapping(raw.get("NetworkSettings")).get("Networks")).values():
        address = str(_mapping(endpoint.get("IPAMConfig")).get("IPv4Address") or endpoint.get("IPAddress") or "")
    return Container(
        id=str(raw["Id"]),
        name=str((_list(raw.get("Names")) or ["/"])[0]).removeprefix("/"),
        state=str(raw.get("State", "")),
        status=str(raw.get("Status", "")),
        labels=_mapping(raw.get("Labels")),
        image_id=str(raw.get("ImageID", "")),
        address=address,
    )


def read_details(raw: Any) -> ContainerDetails:
    """From a container's inspection."""
    state = _mapping(raw["State"])
    health = _mapping(state.get("Health"))
    checks = _list(health.get("Log"))
    return ContainerDetails(
        running=bool(state.get("Running")) and not state.get("Restarting"),
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        pid=int(state.get("Pid") or 0),
        health=str(health.get("Status") or "").replace("none", ""),
        health_output=str(checks[-1].get("Output", "")).strip() if checks else "",
    )


def read_network(raw: Any) -> Network:
    """From a line of the network list."""
    pools = _list(_mapping(raw.get("IPAM")).get("Config"))
    subnet = str(pools[0].get("Subnet", "")) if pools else ""
    return Network(str(raw["Id"]), str(raw["Name"]), _mapping(raw.get("Labels")), subnet)


def read_image(raw: Any) -> ImageDetails:
    """From an image's inspection."""
    config = _mapping(raw.get("Config"))
    pairs = (str(item).partition("=") for item in _list(config.get("Env")))
    test = tuple(str(word) for word in _list(_mapping(config.get("Healthcheck")).get("Test")))
    return ImageDetails(
        id=str(raw["Id"]),
        ports=tuple(str(port) for port in _mapping(config.get("ExposedPorts"))),
        env={name: value for name, _, value in pairs},
        healthcheck=() if test in ((), ("NONE",)) else test,
        labels=_mapping(config.get("Labels")),
        architecture=str(raw.get("Architecture", "")),
    )


def label_filter(labels: Mapping[str, str]) -> list[str]:
    """The engine's filter for what carries the labels; an empty value stands for any."""
    return [f"{key}={value}" if value else key for key, value in labels.items()]


def _mapping(value: Any) -> dict[str, Any]:
    """The engine answers null where it has nothing to say."""
    return value or {}


def _list(value: Any) -> list[Any]:
    return value or []
