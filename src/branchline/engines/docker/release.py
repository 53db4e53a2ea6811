"""Decides how a release is run: its port, its labels, its container. Pure; `engine` does it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from branchline import labels, naming
from branchline.engines.docker.inventory import environment_id, release_number, url
from branchline.engines.docker.records import Container, ContainerSpec, ImageDetails
from branchline.environment import EnvironmentId, Release
from branchline.image import choose_port
from branchline.ports import Push
from branchline.settings.limits import memory_bytes
from branchline.settings.platform import PlatformSettings

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What common images need to start: to hand files to a user, become that user, and listen below port 1024."""


def base(environment: EnvironmentId) -> str:
    """What the names of all of an environment's resources start with."""
    return naming.resource(environment.platform, environment.project, environment.slug)


def owner_labels(environment: EnvironmentId) -> dict[str, str]:
    """The labels that everything of the environment has in common."""
    return {
        labels.PLATFORM: environment.platform,
        labels.PROJECT: environment.project,
        labels.BRANCH: labels.branch_value(environment.branch),
    }


def stop_timeout(container: Container) -> int:
    """Seconds between SIGTERM and SIGKILL, as the release was started with."""
    return int(container.labels.get(labels.STOP_TIMEOUT, "10"))


def container_name(container: Container, role: str) -> str:
    """The container's name in another role."""
    environment, number = environment_id(container.labels), release_number(container.labels)
    return f"{base(environment)}.{number}.{role}"


def host(push: Push, settings: PlatformSettings) -> str:
    """The host that serves the push's environment."""
    domain = push.application.domain or settings.domain
    return naming.host(settings.hosts, push.environment.slug, push.environment.project, domain)


def release_labels(push: Push, release: Release, settings: PlatformSettings, created: datetime) -> dict[str, str]:
    """The labels that every resource of the release carries."""
    found = {
        labels.PLATFORM: push.environment.platform,
        labels.PROJECT: push.environment.project,
        labels.BRANCH: labels.branch_value(push.environment.branch),
        labels.SLUG: push.environment.slug,
        labels.HOST: host(push, settings),
        labels.COMMIT: release.commit,
        labels.RELEASE: str(release.number),
        labels.CREATED: created.isoformat(timespec="seconds"),
        labels.RELEASED: release.created.isoformat(timespec="seconds"),
    }
    if settings.lifetime:
        expires = release.created + timedelta(hours=settings.lifetime)
        found[labels.EXPIRES] = expires.isoformat(timespec="seconds")
    if push.source is not None:
        found[labels.REPOSITORY] = push.source.url
    return found


def container_spec(
    push: Push, release: Release, image: ImageDetails, settings: PlatformSettings, address: str, created: datetime
) -> ContainerSpec:
    """The release's container as it should be."""
    application = push.application
    port, _ = choose_port(application, image.ports, image.env)
    limits = application.limits
    return ContainerSpec(
        name=f"{base(push.environment)}.{release.number}",
        image=release.image,
        labels={
            **release_labels(push, release, settings, created),
            labels.IMAGE: release.image,
            labels.PORT: str(port),
            labels.HEALTH: msgspec.json.encode(application.health).decode(),
            labels.GRACE: str(application.deploy.grace),
            labels.STOP_TIMEOUT: str(application.deploy.stop_timeout),
            labels.SECRETS: ",".join(sorted(name for name, value in push.env.items() if value in push.secrets)),
            labels.CONFIGURATION: configuration(push, image, settings),
        },
        env=_environment_variables(push, release, image, settings, port),
        network=base(push.environment),
        address=address,
        memory=memory_bytes(limits.memory),
        cpus=limits.cpus,
        pids=limits.pids,
        stop_timeout=application.deploy.stop_timeout,
        capabilities=CAPABILITIES,
    )


def configuration(push: Push, image: ImageDetails, settings: PlatformSettings) -> str:
    """A digest of all that decides how the release behaves. Build settings aren't in it: they made the image."""
    application = msgspec.structs.replace(push.application, build=type(push.application.build)(), project=None)
    what = [image.id, host(push, settings), msgspec.to_builtins(application), sorted(push.env.items())]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _environment_variables(
    push: Push, release: Release, image: ImageDetails, settings: PlatformSettings, port: int
) -> Mapping[str, str]:
    """The application's own win over Branchline's. PORT is set for those that follow the convention to listen on it."""
    given = {
        "BRANCHLINE_BRANCH": labels.branch_value(push.environment.branch),
        "BRANCHLINE_COMMIT": release.commit,
        "BRANCHLINE_PROJECT": push.environment.project,
        "BRANCHLINE_URL": url(host(push, settings), settings),
    }
    if "PORT" not in image.env or push.application.port is not None:
        given["PORT"] = str(port)
    return {**given, **push.env}


def lives_long_enough(expires: datetime | None, settings: PlatformSettings) -> bool:
    """Whether a release that serves already needn't be started anew for the sake of its time: half of it is left."""
    if not settings.lifetime or expires is None:
        return expires is None and not settings.lifetime
    return expires - now() > timedelta(hours=settings.lifetime) / 2


def now() -> datetime:
    """The present, to the second, with its zone."""
    return datetime.now(UTC).replace(microsecond=0)
