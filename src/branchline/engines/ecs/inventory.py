"""What the tags, the services and the lease records say, as environments. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from branchline import labels
from branchline.engines.ecs import specs
from branchline.engines.ecs.lease import LeaseRecord
from branchline.engines.ecs.services import Service
from branchline.environment import Environment, EnvironmentId, Release, State

if TYPE_CHECKING:
    from branchline.settings.application import Health

_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Previous:
    """The release that served before, as the service's tag has it: enough to go back to it, and to remove it."""

    revision: int
    number: int
    created: datetime
    image: str
    """Its tag in the repository."""

    def __str__(self) -> str:
        return f"{self.revision} {self.number} {self.created.isoformat(timespec='seconds')} {self.image}"


def previous(values: dict[str, str]) -> Previous | None:
    """The previous release that a service's tags name."""
    words = values.get(labels.PREVIOUS, "").split(" ")
    if len(words) != 4:
        return None
    return Previous(int(words[0]), int(words[1]), _moment(words[2]), words[3])


def previous_of(values: dict[str, str], revision: int) -> Previous:
    """The release of these tags, as the one that served before the next."""
    return Previous(revision, release_number(values), _moment(values.get(labels.RELEASED, "")), image_tag(values))


def kept(values: dict[str, str], revision: int) -> tuple[Previous, ...]:
    """What an environment keeps: the release of these tags, and the one that it can go back to."""
    before = previous(values)
    return (previous_of(values, revision), *((before,) if before else ()))


def image_tag(values: dict[str, str]) -> str:
    """The tag of the release's image in its repository."""
    return values.get(labels.IMAGE, "").rpartition(":")[2]


def health(values: dict[str, str]) -> Health:
    """When the release counts as healthy."""
    import msgspec  # nothing that only removes needs it, and the Lambda doesn't have it

    from branchline.settings.application import Health

    return msgspec.json.decode(values.get(labels.HEALTH, "{}"), type=Health)


def created(values: dict[str, str]) -> datetime:
    """When the environment was made: each release carries it on to the next."""
    return _moment(values.get(labels.CREATED, ""))


def release_number(values: dict[str, str]) -> int:
    """The release's number; 0 where the tags don't say."""
    number = values.get(labels.RELEASE, "")
    return int(number) if number.isdecimal() else 0


def release(environment: EnvironmentId, values: dict[str, str]) -> Release:
    """The release that a task definition's tags are the record of."""
    return Release(
        environment=environment,
        number=release_number(values),
        commit=values.get(labels.COMMIT, ""),
        created=_moment(values.get(labels.RELEASED, "")),
        image=values.get(labels.IMAGE, ""),
    )


def environment(
    environment_id: EnvironmentId,
    service: Service | None,
    values: dict[str, str],
    record: LeaseRecord | None,
    scheme: str,
) -> Environment | None:
    """The environment, or None where there is neither a service nor a deploy, running or failed.

    `values` are the serving release's tags.
    """
    pending = record.deploying if record else None
    failed = record.failed if record else None
    if service is None:
        if not (pending or failed):
            return None
        known = failed or pending
        return Environment(
            id=environment_id,
            host=record.host if record else "",
            url=f"{scheme}://{record.host}" if record and record.host else "",
            state=State.BUILDING if pending else State.FAILED,
            created=known.created if known else _NEVER,
            pending=pending,
            failed=failed,
            reason=failed.failure if failed and not pending else "",
            repository=record.repository if record else "",
        )
    return serving(environment_id, service, values, record, scheme)


def serving(
    environment_id: EnvironmentId, service: Service, values: dict[str, str], record: LeaseRecord | None, scheme: str
) -> Environment:
    """The environment that has a service."""
    state, reason = _state(service)
    before = previous(values)
    expires = values.get(labels.EXPIRES)
    return Environment(
        id=environment_id,
        host=values.get(labels.HOST, ""),
        url=f"{scheme}://{values.get(labels.HOST, '')}",
        state=state,
        created=created(values),
        expires=_moment(expires) if expires else None,
        release=release(environment_id, values),
        previous=_previous_release(environment_id, before, values.get(labels.IMAGE, "")) if before else None,
        pending=record.deploying if record else None,
        failed=record.failed if record else None,
        reason=reason,
        repository=values.get(labels.REPOSITORY, ""),
    )


def _previous_release(environment_id: EnvironmentId, before: Previous, serving: str) -> Release:
    """`serving` is the image that serves now: the one before is in the same repository."""
    commit = before.image.removeprefix(f"{environment_id.slug}.").partition(".")[0]
    image = f"{serving.rpartition(':')[0]}:{before.image}"
    return Release(environment_id, before.number, commit, before.created, image)


def _state(service: Service) -> tuple[State, str]:
    if service.desired == 0:
        return State.SLEEPING, ""
    if service.running > 0:
        return State.READY, ""
    reason = service.events[0] if service.events else "ECS runs no task of it"
    return State.FAILED, reason


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _NEVER


def next_number(service: Service | None, record: LeaseRecord | None) -> int:
    """The coming release's number: one more than any that the environment is known to have had."""
    served = release_number(service.values) if service else 0
    failed = record.failed.number if record and record.failed else 0
    return max(served, failed) + 1


def lives_long_enough(values: dict[str, str], lifetime_hours: float) -> bool:
    """Whether the environment's time needn't be prolonged: half of it is left."""
    text = values.get(labels.EXPIRES, "")
    if not lifetime_hours or not text:
        return bool(text) == bool(lifetime_hours)
    return (_moment(text) - specs.now()).total_seconds() > lifetime_hours * 1800
