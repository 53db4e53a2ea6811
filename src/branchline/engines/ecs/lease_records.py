"""What the table of leases holds, as data, and the rules for whose turn it is. No I/O happens here.

An environment has an item only while there is something to say: somebody has its turn or waits for it, its last release
failed, or somebody left it unclean.

Whether a process lives can't be asked across machines, and their clocks differ. So who has a turn, or waits for one,
counts up a beat, and who waits for others watches their beats: a claim whose beat stood still for `seconds`, by the
watcher's own clock, is dead. Only a claim that is past its time by more than any two clocks may differ is dead at once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from branchline import labels
from branchline.environment import EnvironmentId, Release
from branchline.ports import Change, Deletion, Push

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef as Value

_CLOCKS = 10
"""Seconds that clocks may differ and a turn is still shown as what it is. Nothing is decided by this."""
_CLOCKS_AT_MOST = 3600
"""Seconds that the clocks of two machines differ at most, with room: AWS refuses requests signed by a clock that is 5,
in some services 15 minutes off. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-signing.html"""


class Kind(StrEnum):
    """What a claim is for; see `ports.Change`."""

    PUSH = "push"
    DELETION = "deletion"
    ADJUSTMENT = "adjustment"


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody who has an environment's turn, or waits for it."""

    id: str
    """Random, so that a call that was sent twice recognises its own effect."""
    kind: Kind
    commit: str
    """Empty unless it is a push."""
    since: datetime
    beat: int = 0
    """Counts up as long as the process lives."""
    until: int = 0
    """When it is over unless the process gives another sign of life: seconds since 1970, by that process's clock."""
    repository: str = ""
    """Where a push comes from, without credentials; empty where only an image was given."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The push or deletion that came last, whether or not it is still there."""

    id: str
    commit: str
    """Empty for a deletion."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A release that failed, and what else is known of its environment, which may have nothing but this."""

    release: Release
    host: str
    repository: str


@dataclass(frozen=True, slots=True)
class Item:
    """All that the table says about one environment; nothing where there is no item."""

    holder: Claim | None = None
    """Who has the turn, or died in it."""
    waiting: Mapping[str, Claim] = field(default_factory=dict[str, Claim])
    """The pushes and deletions that wait for their turn, by their ids."""
    latest: Latest | None = None
    failure: Failure | None = None
    unclean: bool = False

    @property
    def claims(self) -> list[Claim]:
        """Of who has the turn, and of those who wait for it."""
        return [*([self.holder] if self.holder is not None else []), *self.waiting.values()]

    @property
    def silent(self) -> bool:
        """Whether it says nothing any more."""
        return self.holder is None and not self.waiting and self.failure is None and not self.unclean


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One environment's item, as others may see it."""

    environment: EnvironmentId
    held: bool
    """Whether somebody has a turn now."""
    unclean: bool
    """Whether somebody died in a turn, or couldn't clean up, and nobody has made that good since."""
    deploying: Release | None = None
    """The push that has its turn now: its commit and since when. Its number is not known here, so it is 0."""
    failed: Release | None = None
    """The last release that failed, where none has succeeded since."""
    host: str = ""
    """Of the failed release."""
    repository: str = ""
    """Where the push that has its turn comes from, or else the failed release; empty where only an image was given."""


def claim_of(change: Change) -> Claim:
    """A new claim for the change."""
    if isinstance(change, Push):
        kind, commit, repository = Kind.PUSH, change.commit, change.source.url if change.source is not None else ""
    else:
        kind, commit, repository = Kind.DELETION if isinstance(change, Deletion) else Kind.ADJUSTMENT, "", ""
    return Claim(secrets.token_hex(8), kind, commit, datetime.now(UTC), repository=repository)


def record_of(environment: EnvironmentId, item: Item, now: float) -> LeaseRecord | None:
    """The item as others may see it at a time, in seconds since 1970; None where it tells them nothing."""
    holder, failure = item.holder, item.failure
    if holder is None and failure is None and not item.unclean:
        return None
    held = holder is not None and now < holder.until + _CLOCKS
    deploying, repository = None, failure.repository if failure is not None else ""
    if holder is not None and held and holder.kind is Kind.PUSH:
        deploying = Release(environment, number=0, commit=holder.commit, created=holder.since)
        repository = holder.repository or repository
    return LeaseRecord(
        environment=environment,
        held=held,
        unclean=item.unclean or (holder is not None and not held),
        deploying=deploying,
        failed=failure.release if failure is not None else None,
        host=failure.host if failure is not None else "",
        repository=repository,
    )


def since_boot() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine is suspended (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Beats:
    """The beats of others, as somebody sees them who waits."""

    def __init__(self, seconds: float, clock: Callable[[], float] = since_boot) -> None:
        self._seconds = seconds
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}

    def see(self, item: Item) -> None:
        """Takes note of a fresh look at the item."""
        for claim in item.claims:
            if self._seen.get(claim.id, (-1, 0.0))[0] != claim.beat:
                self._seen[claim.id] = claim.beat, self._clock()

    def dead(self, claim: Claim, now: float) -> bool:
        """Whether the claim's process is dead, or has to take itself for dead. `now` is in seconds since 1970."""
        beat, since = self._seen.get(claim.id, (-1, 0.0))
        stood_still = beat == claim.beat and self._clock() - since >= self._seconds
        return stood_still or now > claim.until + _CLOCKS_AT_MOST


def may_take(claim: Claim, item: Item, dead: Collection[Claim]) -> bool:
    """Whether the turn is free for this claim.

    A push lets every deletion go first that waits. One that came before it would remove what the push makes, and one
    that came after it ends it.
    """
    if item.holder is not None and item.holder not in dead:
        return False
    deletions = [other for other in item.waiting.values() if other.kind is Kind.DELETION]
    return claim.kind is not Kind.PUSH or all(other in dead for other in deletions)


# As DynamoDB has it


BOOKMARKS = "bookmarks:"
"""What the keys of bookmarks start with, which are in the same table. No project's name holds a colon."""


def key_of(environment: EnvironmentId) -> str:
    """The item's key. No project's name holds a slash."""
    return f"{environment.project}/{labels.branch_value(environment.branch)}"


def environment_of(platform: str, key: str) -> EnvironmentId:
    """The environment whose key it is."""
    project, _, branch = key.partition("/")
    return EnvironmentId(platform, project, labels.branch_name(branch))


def read_item(environment: EnvironmentId, raw: Mapping[str, Value]) -> Item:
    """The item that DynamoDB answered with; nothing in it where there is none."""
    holder, latest, failed = (raw.get(name, {}).get("M") for name in ("holder", "latest", "failed"))
    waiting: Mapping[str, Value] = raw.get("waiting", {}).get("M", {})
    return Item(
        holder=_read_claim(holder) if holder else None,
        waiting={name: _read_claim(claim.get("M", {})) for name, claim in waiting.items()},
        latest=Latest(_text(latest, "id"), _text(latest, "commit")) if latest else None,
        failure=_read_failure(environment, failed) if failed else None,
        unclean=raw.get("unclean", {}).get("BOOL", False),
    )


def claim_value(claim: Claim, until: int) -> Value:
    """The claim, with the time when it is over unless its process gives another sign of life."""
    return {
        "M": {
            "id": {"S": claim.id},
            "kind": {"S": claim.kind},
            "commit": {"S": claim.commit},
            "repository": {"S": claim.repository},
            "since": {"S": claim.since.isoformat()},
            "beat": {"N": str(claim.beat)},
            "valid_until": {"N": str(until)},
        }
    }


def latest_value(claim: Claim) -> Value:
    """The claim as the latest change."""
    return {"M": {"id": {"S": claim.id}, "commit": {"S": claim.commit}}}


def failure_value(failure: Failure) -> Value:
    """The failed release."""
    release = failure.release
    texts = {
        "commit": release.commit,
        "created": release.created.isoformat(),
        "image": release.image,
        "reason": release.failure,
        "host": failure.host,
        "repository": failure.repository,
    }
    # A reason may name a branch that isn't UTF-8.
    values = {name: {"S": text.encode("utf-8", "backslashreplace").decode()} for name, text in texts.items()}
    return {"M": values | {"number": {"N": str(release.number)}}}


def _read_claim(raw: Mapping[str, Any]) -> Claim:
    return Claim(
        id=_text(raw, "id"),
        kind=Kind(_text(raw, "kind")),
        commit=_text(raw, "commit"),
        repository=raw.get("repository", {}).get("S", ""),
        since=datetime.fromisoformat(_text(raw, "since")),
        beat=int(raw["beat"]["N"]),
        until=int(raw["valid_until"]["N"]),
    )


def _read_failure(environment: EnvironmentId, raw: Mapping[str, Any]) -> Failure:
    release = Release(
        environment,
        number=int(raw["number"]["N"]),
        commit=_text(raw, "commit"),
        created=datetime.fromisoformat(_text(raw, "created")),
        image=_text(raw, "image"),
        failure=_text(raw, "reason"),
    )
    return Failure(release, _text(raw, "host"), _text(raw, "repository"))


def _text(raw: Mapping[str, Any], name: str) -> str:
    return str(raw[name]["S"])
