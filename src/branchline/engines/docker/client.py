"""The one place that speaks to the Docker Engine, through its SDK; typed, and with errors for people.

Calls for what isn't there any more return silently where that is the aim (`remove`), or return None (`find`). Every
other refusal is an EngineError with the engine's own words.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

import docker
import docker.errors

from branchline.engines.docker import connection, records
from branchline.engines.docker.image_client import ImageClient
from branchline.engines.docker.records import Container, ContainerDetails, ContainerSpec, EngineInfo, Network, Volume
from branchline.engines.docker.refusals import SLOW, errors

_LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}


class Client(ImageClient):
    """A connection to one engine. Safe to share between threads that make plain calls."""

    def __init__(self, host: str = "", *, anywhere: bool = False) -> None:
        """Connects to `host`, or else to what DOCKER_HOST, the current docker context or the default socket names.

        With `anywhere`, the engine may be on another machine, such as the one beside a CI job that it builds for.

        Raises:
            EngineError: no engine answers there, or it may not be used; with the remedy.
            ConfigurationError: the address is not on this machine, where the router has to reach the containers.
        """
        arguments = connection.arguments(host)
        self.address = str(arguments.get("base_url") or "unix:///var/run/docker.sock")
        connection.check_address(self.address, anywhere=anywhere)
        with errors("can't connect", self.address):
            self._api: Any = docker.APIClient(version="auto", timeout=SLOW, **arguments)

    def info(self) -> EngineInfo:
        """Facts about the engine and its machine."""
        with errors("can't read the engine's state", self.address):
            raw: dict[str, Any] = self._api.info()
            return EngineInfo(
                version=str(raw.get("ServerVersion", "")),
                api_version=str(self._api.api_version),
                operating_system=str(raw.get("OperatingSystem", "")),
                name=str(raw.get("Name", "")),
                root_dir=str(raw.get("DockerRootDir", "")),
                processors=int(raw.get("NCPU", 0)),
                memory=int(raw.get("MemTotal", 0)),
                containers=int(raw.get("Containers", 0)),
                images=int(raw.get("Images", 0)),
                warnings=tuple(raw.get("Warnings") or ()),
            )

    @property
    def builds_with_buildkit(self) -> bool:
        """Whether the engine takes `version=2` builds: since API 1.39, on Linux, whatever its own default is."""
        major, _, minor = str(self._api.api_version).partition(".")
        return (int(major), int(minor)) >= (1, 39)

    # Containers

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """All containers that carry the labels, running or not, in one call."""
        with errors("can't list containers", self.address):
            raw: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": records.label_filter(labels)})
        return [records.read_container(item) for item in raw]

    def create(self, spec: ContainerSpec) -> str:
        """Creates the container and returns its id. It is not started."""
        with errors(f"can't create the container {spec.name}", self.address):
            api = self._api
            host_config = api.create_host_config(
                network_mode=spec.network,
                mem_limit=spec.memory,
                memswap_limit=spec.memory,  # the same figure: no swap on top
                nano_cpus=int(spec.cpus * 1_000_000_000),
                pids_limit=spec.pids,
                security_opt=["no-new-privileges"],
                cap_drop=["ALL"],
                cap_add=list(spec.capabilities),
                log_config={"Type": "json-file", "Config": _LOG_OPTIONS},
                restart_policy={"Name": "no"},  # a candidate that crashes must be seen to; `keep_running` changes it
                init=True,  # the application is not PID 1, so SIGTERM ends it even if it has no handler
            )
            networking = api.create_networking_config(
                {spec.network: api.create_endpoint_config(ipv4_address=spec.address, aliases=list(spec.aliases))}
            )
            created: dict[str, Any] = api.create_container(
                image=spec.image,
                name=spec.name,
                labels=dict(spec.labels),
                environment=dict(spec.env),
                host_config=host_config,
                networking_config=networking,
                stop_timeout=spec.stop_timeout,
                detach=True,
                use_config_proxy=False,
            )
            return str(created["Id"])

    def start(self, container: str) -> None:
        """Starts a container; one that runs already is left alone."""
        with errors("can't start the container", self.address):
            self._api.start(container)

    def keep_running(self, container: str) -> None:
        """Lets the engine start the container again after a crash or a reboot, until somebody stops it."""
        with errors("can't set the container's restart policy", self.address):
            self._api.update_container(container, restart_policy={"Name": "unless-stopped"})

    def rename(self, container: str, name: str) -> None:
        """Gives the container another name, in one step that other processes see whole or not at all."""
        with errors(f"can't rename the container to {name}", self.address):
            self._api.rename(container, name)

    def inspect(self, container: str) -> ContainerDetails | None:
        """One container's state, or None where it is gone."""
        with errors("can't inspect the container", self.address):
            try:
                raw: dict[str, Any] = self._api.inspect_container(container)
            except docker.errors.NotFound:
                return None
        return records.read_details(raw)

    def variables(self, container: str) -> dict[str, str]:
        """The container's environment variables."""
        with errors("can't inspect the container", self.address):
            raw: dict[str, Any] = self._api.inspect_container(container)
        pairs = (str(item).partition("=") for item in raw["Config"].get("Env") or ())
        return {name: value for name, _, value in pairs}

    def stop(self, container: str, timeout: int) -> None:
        """SIGTERM, and SIGKILL after `timeout` seconds. A container that is gone or stopped is no error."""
        with errors("can't stop the container", self.address), suppress(docker.errors.NotFound):
            self._api.stop(container, timeout=timeout)

    def remove(self, container: str) -> None:
        """Kills the container if it runs, and removes it with its anonymous volumes. Missing is no error."""
        with errors("can't remove the container", self.address), suppress(docker.errors.NotFound):
            try:
                self._api.remove_container(container, force=True, v=True)
            except docker.errors.APIError as error:
                if "already in progress" not in str(error.explanation):
                    raise

    def logs(self, container: str, tail: int | None) -> bytes:
        """The last `tail` lines that the container printed to its output and its errors, or all of them."""
        with errors("can't read the container's logs", self.address):
            try:
                return cast("bytes", self._api.logs(container, tail="all" if tail is None else tail))
            except docker.errors.NotFound:
                return b""

    def log_entries(
        self, container: str, *, follow: bool, tail: int | None, since: str = ""
    ) -> Iterator[tuple[str, bytes]]:
        """As `logs`, piece by piece, a piece being a line or a part of a long one; with `follow`, until it ends.

        Each comes with its time: RFC 3339 in nanoseconds, so that times compare as text. `since` is one of those, and
        leaves out what was printed in the seconds before.
        """
        second: dict[str, Any] = {"since": int(datetime.fromisoformat(since).timestamp())} if since else {}
        lines = "all" if tail is None else tail
        with errors("can't follow the container's logs", self.address):
            try:
                stream: Iterator[bytes] = self._api.logs(
                    container, stream=True, follow=follow, timestamps=True, tail=lines, **second
                )
                for entry in stream:
                    time, _, piece = entry.partition(b" ")
                    yield time.decode(), piece
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if "marked for removal" not in str(error.explanation):
                    raise

    # Commands inside a container

    def start_command(
        self, container: str, command: list[str], *, terminal: bool, stdin: bool
    ) -> tuple[str, socket.socket, io.BufferedReader]:
        """Starts a command in a running container; returns its id, the socket of its streams, and what to read by."""
        with errors("can't run a command in the container", self.address):
            created: dict[str, Any] = self._api.exec_create(container, command, stdin=stdin, tty=terminal)
            opened: Any = self._api.exec_start(created["Id"], tty=terminal, socket=True)
            # The SDK hands out a file object around the socket on unix sockets, the socket itself elsewhere. The head
            # of the answer was read through a buffer, which may hold the command's first output already.
            connection = cast("socket.socket", getattr(opened, "_sock", opened))
            return str(created["Id"]), connection, cast("io.BufferedReader", opened._response.raw._fp.fp)

    def run_quietly(self, container: str, command: list[str]) -> tuple[str, str]:
        """Starts a command in the background of a container; returns its id for `command_result`, or why it can't."""
        with errors("can't run a command in the container", self.address):
            try:
                created: dict[str, Any] = self._api.exec_create(container, command, stdout=False, stderr=False)
                self._api.exec_start(created["Id"], detach=True)
            except docker.errors.APIError as error:  # it may have exited, or have no such program
                return "", str(error.explanation)
            return str(created["Id"]), ""

    def command_result(self, command: str) -> int | None:
        """The command's exit code, or None while it runs."""
        with errors("can't read a command's result", self.address):
            raw: dict[str, Any] = self._api.exec_inspect(command)
            return None if raw.get("Running") else int(raw["ExitCode"] or 0)

    def command_process(self, command: str) -> int:
        """The command's process id, as the engine's machine counts them; 0 where it was never started."""
        with errors("can't look at a command", self.address):
            raw: dict[str, Any] = self._api.exec_inspect(command)
            return int(raw.get("Pid") or 0)

    def resize_command(self, command: str, lines: int, columns: int) -> None:
        """Tells the command's terminal its size."""
        with errors("can't resize the terminal", self.address), suppress(docker.errors.APIError):
            self._api.exec_resize(command, height=lines, width=columns)

    # Networks and volumes

    def networks(self, labels: Mapping[str, str]) -> list[Network]:
        """The networks that carry the labels."""
        with errors("can't list networks", self.address):
            raw: list[dict[str, Any]] = self._api.networks(filters={"label": records.label_filter(labels)})
        return [records.read_network(item) for item in raw]

    def create_network(self, name: str, subnet: str, bridge: str, labels: Mapping[str, str]) -> bool:
        """Creates a bridge network; False where the subnet overlaps another network's."""
        with errors(f"can't create the network {name}", self.address):
            try:
                self._api.create_network(
                    name,
                    driver="bridge",
                    ipam={"Driver": "default", "Config": [{"Subnet": subnet}]},
                    options={"com.docker.network.bridge.name": bridge},
                    labels=dict(labels),
                    check_duplicate=True,
                )
            except docker.errors.APIError as error:
                if "overlaps with other one" in str(error.explanation):
                    return False
                raise
            return True

    def remove_network(self, network: str) -> None:
        """Removes a network. Missing is no error."""
        with errors("can't remove the network", self.address), suppress(docker.errors.NotFound):
            self._api.remove_network(network)

    def volumes(self, labels: Mapping[str, str]) -> list[Volume]:
        """The volumes that carry the labels."""
        with errors("can't list volumes", self.address):
            raw: dict[str, Any] = self._api.volumes(filters={"label": records.label_filter(labels)})
        return [Volume(str(item["Name"]), dict(item.get("Labels") or {})) for item in raw.get("Volumes") or ()]

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Creates an empty volume; an existing one of that name keeps its labels."""
        with errors(f"can't create the volume {name}", self.address):
            self._api.create_volume(name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Removes a volume. Missing is no error."""
        with errors(f"can't remove the volume {name}", self.address), suppress(docker.errors.NotFound):
            self._api.remove_volume(name, force=True)
