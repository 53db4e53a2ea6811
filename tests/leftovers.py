"""What a test platform has on this machine: to see that nothing is left, and to remove what is."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from branchline import labels


@dataclass(frozen=True)
class Resource:
    """Something that the engine has."""

    kind: str
    id: str
    name: str
    platform: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of platform {self.platform}"


def resources(client: docker.DockerClient, prefix: str) -> list[Resource]:
    """The containers, networks, volumes and images of platforms whose names start so, containers first."""
    api = client.api
    wanted = {"label": labels.PLATFORM}
    listed = [
        *(("container", row["Id"], row["Names"][0], row) for row in api.containers(all=True, filters=wanted)),
        *(("network", row["Id"], row["Name"], row) for row in api.networks(filters=wanted)),
        *(("volume", row["Name"], row["Name"], row) for row in api.volumes(filters=wanted)["Volumes"] or ()),
        *(("image", row["Id"], " ".join(row["RepoTags"] or [row["Id"]]), row) for row in api.images(filters=wanted)),
    ]
    found = [Resource(kind, id_, name, row["Labels"][labels.PLATFORM]) for kind, id_, name, row in listed]
    return [resource for resource in found if resource.platform.startswith(prefix)]


def remove(client: docker.DockerClient, found: list[Resource]) -> None:
    """Removes the resources; what has gone meanwhile is no error."""
    api = client.api
    for resource in found:
        with suppress(docker.errors.NotFound):
            match resource.kind:
                case "container":
                    api.remove_container(resource.id, force=True, v=True)
                case "network":
                    api.remove_network(resource.id)
                case "volume":
                    api.remove_volume(resource.id, force=True)
                case _:
                    remove_image(client, resource.id)


def remove_image(client: docker.DockerClient, image: str) -> None:
    """Removes an image by its id, after those that were built from it, such as the classic builder's cached steps."""
    for row in client.api.images(all=True):
        if row["ParentId"] == image:
            remove_image(client, row["Id"])
    with suppress(docker.errors.NotFound):
        client.api.remove_image(image, force=True)


@dataclass(frozen=True)
class Process:
    """A running program."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid}: {self.command}"


def processes(*marks: str) -> list[Process]:
    """The processes whose command line or environment holds one of the marks, without this one and its ancestors."""
    known = {os.getpid(), *_ancestors(os.getpid())}
    found: list[Process] = []
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        try:
            command = (directory / "cmdline").read_bytes()
            environment = (directory / "environ").read_bytes()
        except OSError:  # it ended, or is another user's
            continue
        if pid not in known and any(mark.encode() in command or mark.encode() in environment for mark in marks):
            found.append(Process(pid, command.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


def kill(found: list[Process]) -> None:
    """Kills the processes; one that has ended meanwhile is no error."""
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1:
        # The command's name, in brackets, may hold anything, so that the fields are counted from its end.
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.add(pid)
    return found
