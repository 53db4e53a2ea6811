"""Reads environments off the engine's lists. Pure: what the engine said goes in, environments come out.

Labels can't change once a container exists, so the one thing that does change, whether a release serves, stands in
the container's name, which the engine changes in one step:

    {base}.{number}            a candidate: started, not serving
    {base}.{number}.live       serving; of several, the one with the highest number
    {base}.{number}.previous   stopped, kept to roll back to

and in empty volumes with labels, since those need no image:

    {base}.{number}.pending    a deploy is building or starting this release
    {base}.{number}.failed     this release failed, and why
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from branchline import labels, naming
from branchline.engines.docker.records import Container, Volume
from branchline.environment import Environment, EnvironmentId, Release, State
from branchline.errors import NotFoundError
from branchline.settings.platform import PlatformSettings

LIVE, PREVIOUS, PENDING, FAILED = "live", "previous", "pending", "failed"
_SUFFIX = re.compile(r"\.(\d+)(?:\.(live|previous|pending|failed))?$")


@dataclass(slots=True)
class Holdings:
    """What the engine has for one environment, by role."""

    id: EnvironmentId
    live: list[Container] = field(default_factory=list[Container])
    """By release, the serving one last."""
    candidates: list[Container] = field(default_factory=list[Container])
    previous: list[Container] = field(default_factory=list[Container])
    pending: list[Volume] = field(default_factory=list[Volume])
    failed: list[Volume] = field(default_factory=list[Volume])

    @property
    def serving(self) -> Container | None:
        """The container that the host points at."""
        return self.live[-1] if self.live else None

    @property
    def containers(self) -> list[Container]:
        """Every container of the environment."""
        return [*self.candidates, *self.live, *self.previous]

    @property
    def volumes(self) -> list[Volume]:
        """Every record of the environment."""
        return [*self.pending, *self.failed]

    @property
    def created(self) -> datetime | None:
        """When the environment was made, as its oldest resource says."""
        for item in (*self.containers, *self.volumes):
            with suppress(ValueError):
                return datetime.fromisoformat(item.labels.get(labels.CREATED, ""))
        return None

    @property
    def remains(self) -> tuple[list[Container], list[str]]:
        """What a killed deploy left: candidates, releases that had been replaced, and the names of its records."""
        number = release_number(self.serving.labels) if self.serving else 0
        records = [item.name for item in self.pending]
        records += [item.name for item in self.failed if release_number(item.labels) < number]
        return [*self.candidates, *self.live[:-1]], records

    @property
    def last_number(self) -> int:
        """The highest number that a release here has ever had, as far as the engine tells."""
        return max((release_number(item.labels) for item in (*self.containers, *self.volumes)), default=0)


def release_number(of: Mapping[str, str]) -> int:
    """The release that a container or record belongs to."""
    text = of.get(labels.RELEASE, "")
    return int(text) if text.isdecimal() else 0


def environment_id(of: Mapping[str, str]) -> EnvironmentId:
    """The environment that a resource belongs to."""
    return EnvironmentId(
        of.get(labels.PLATFORM, ""), of.get(labels.PROJECT, ""), labels.branch_name(of.get(labels.BRANCH, ""))
    )


def holdings(containers: Iterable[Container], volumes: Iterable[Volume]) -> dict[EnvironmentId, Holdings]:
    """Sorts all that the platform has by environment and role.

    Labels alone don't make a container ours: one that somebody starts from our image inherits the image's. Its name
    has to be the one that is computed, too.
    """
    found: dict[EnvironmentId, Holdings] = {}
    containers = [item for item in containers if _is_ours(item)]
    volumes = [item for item in volumes if _is_ours(item)]

    def of(item: Container | Volume) -> Holdings:
        environment = environment_id(item.labels)
        return found.setdefault(environment, Holdings(environment))

    for container in containers:
        role = _role(container.name)
        held = of(container)
        {LIVE: held.live, PREVIOUS: held.previous}.get(role, held.candidates).append(container)
    for volume in volumes:
        role = _role(volume.name)
        held = of(volume)
        (held.failed if role == FAILED else held.pending).append(volume)
    for held in found.values():
        for role_list in (held.live, held.candidates, held.previous):
            role_list.sort(key=lambda item: release_number(item.labels))
        for record_list in (held.pending, held.failed):
            record_list.sort(key=lambda item: release_number(item.labels))
    return found


def environment(
    held: Holdings,
    settings: PlatformSettings,
    deploying: Callable[[EnvironmentId], bool],
    memory: Callable[[Container], int | None] = lambda _: None,
) -> Environment | None:
    """The environment that the holdings make up; None where they are but the rest of a killed destroy.

    `deploying` tells whether a process has its turn at it: only then is a pending release really on its way.
    """
    serving = held.serving
    number = release_number(serving.labels) if serving else 0
    record = next((item for item in reversed(held.pending) if release_number(item.labels) > number), None)
    pending = record if record is not None and deploying(held.id) else None
    failed = next((item for item in reversed(held.failed) if release_number(item.labels) > number), None)
    anchor = serving or pending or failed or record
    if anchor is None:
        return None
    started = (
        any(release_number(item.labels) == release_number(pending.labels) for item in held.candidates)
        if pending
        else False
    )
    state, reason = _state(serving, pending, started=started, failed=failed)
    host = anchor.labels.get(labels.HOST, "")
    return Environment(
        id=held.id,
        host=host,
        url=url(host, settings),
        state=state,
        created=_time(anchor.labels.get(labels.CREATED, "")),
        expires=expires(anchor.labels),
        release=_release(held.id, serving) if serving else None,
        previous=_release(held.id, held.previous[-1]) if held.previous else None,
        pending=_release(held.id, pending) if pending else None,
        failed=_release(held.id, failed) if failed else None,
        reason=reason,
        repository=anchor.labels.get(labels.REPOSITORY, ""),
        memory=memory(serving) if serving else None,
    )


def nothing_serves(environment: EnvironmentId, found: Environment | None) -> NotFoundError:
    """Why there is no release to look into, and how to see more. `found` is what there is of the environment."""
    branch = environment.branch
    if found is None:
        return NotFoundError(f"{branch} has no release", remedy=f"deploy it: branchline deploy --branch {branch}")
    if found.pending is not None:
        return NotFoundError(
            f"{branch} has no release that serves yet: its first is {found.state}",
            remedy="wait for its deploy, which shows what goes on",
        )
    return NotFoundError(
        f"{branch} has no release that serves: {found.reason}",
        remedy=f"deploy it again to see the last lines that it prints: branchline deploy --branch {branch}",
    )


def expires(of: Mapping[str, str]) -> datetime | None:
    """When the environment's time is up; None for never, and for what can't be read."""
    with suppress(ValueError):
        return datetime.fromisoformat(of.get(labels.EXPIRES, ""))
    return None


def url(host: str, settings: PlatformSettings) -> str:
    """Where the router serves the host."""
    if settings.router.https == "off":
        port = settings.router.http_port
        return f"http://{host}" if port == 80 else f"http://{host}:{port}"
    port = settings.router.https_port
    return f"https://{host}" if port == 443 else f"https://{host}:{port}"


def asleep(container: Container) -> bool:
    """Whether it was stopped on purpose: after a crash or a reboot the engine starts a live container by itself."""
    return container.state in ("exited", "paused", "created")


def _state(
    serving: Container | None, pending: Volume | None, *, started: bool, failed: Volume | None
) -> tuple[State, str]:
    if serving is not None:
        if asleep(serving):
            return State.SLEEPING, ""
        if serving.state != "running":
            return State.FAILED, f"the container keeps crashing ({serving.status.lower()})"
        return State.READY, "its health check fails" if "(unhealthy)" in serving.status else ""
    if pending is not None:
        return (State.STARTING if started else State.BUILDING), ""
    if failed is not None:
        return State.FAILED, failed.labels.get(labels.REASON, "")
    return State.FAILED, "its deploy was interrupted; deploy it again, or destroy it"


def _is_ours(item: Container | Volume) -> bool:
    owner = environment_id(item.labels)
    return bool(owner.branch) and item.name.startswith(f"{naming.resource(owner.platform, owner.project, owner.slug)}.")


def _role(name: str) -> str:
    found = _SUFFIX.search(name)
    return (found.group(2) or "") if found else ""


def _release(environment: EnvironmentId, item: Container | Volume) -> Release:
    return Release(
        environment=environment,
        number=release_number(item.labels),
        commit=item.labels.get(labels.COMMIT, ""),
        created=_time(item.labels.get(labels.RELEASED, "")),
        image=item.labels.get(labels.IMAGE, ""),
        failure=item.labels.get(labels.REASON, ""),
    )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
