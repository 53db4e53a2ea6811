"""Pushes to build, a builder on this machine's engine, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import docker

from branchline.engines.docker.builder import DockerBuilder
from branchline.engines.docker.client import Client
from branchline.engines.docker.images import DockerImages
from branchline.engines.docker.lease import FileLease
from branchline.environment import EnvironmentId
from branchline.events import Event, Output
from branchline.ports import Push
from branchline.settings.application import Application
from branchline.settings.platform import Ecs, PlatformSettings
from branchline.source import open_repository
from tests.repositories import Repo


@dataclass
class Heard:
    """What was published. It and its method are a `Publish`."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def lines(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, Output)]


def settings_of(platform: str, registry: str = "") -> PlatformSettings:
    return PlatformSettings(platform=platform, engine="ecs", ecs=Ecs(registry=registry))


def make_builder(platform: str, host: str = "") -> DockerBuilder:
    """On the engine at `host`, or on the usual one."""
    client, settings = Client(host), settings_of(platform)
    return DockerBuilder(client, DockerImages(client, settings, FileLease(Path("/nonexistent"), 1)))


def make_push(platform: str, repo: Repo, branch: str = "main", *, image: str = "", force: bool = False) -> Push:
    """The repository's head, as a change of the branch."""
    environment = EnvironmentId(platform, "shop", branch)
    source = open_repository(str(repo.path), repo.path)
    return Push(environment, repo.head, Application(), source=source, image=image, force=force)


def names_here(engine: docker.DockerClient, platform: str) -> list[str]:
    """The names that the platform's images have on this machine's engine."""
    rows = engine.api.images(filters={"label": f"branchline:platform={platform}"})
    return [name for row in rows for name in row["RepoTags"] or [row["Id"]]]
