"""What Branchline is about, as data: environments and their releases. No I/O happens here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from branchline import naming


class State(StrEnum):
    """What a visitor of the environment's URL gets, or why not."""

    BUILDING = "building"
    """The first release is being built; there is nothing to serve yet."""
    STARTING = "starting"
    """The first release is built and not healthy yet."""
    READY = "ready"
    """A release is serving."""
    FAILED = "failed"
    """No release is serving: the last one failed, or keeps crashing."""
    SLEEPING = "sleeping"
    """The release's container was stopped on purpose and starts again on request."""


@dataclass(frozen=True, slots=True)
class EnvironmentId:
    """Which environment: one branch of one project on one platform. Every resource name is computed from it."""

    platform: str
    project: str
    branch: str

    @property
    def slug(self) -> str:
        """The branch as a DNS-safe name."""
        return naming.slug(self.branch)


@dataclass(frozen=True, slots=True)
class Release:
    """One commit, built into one image, run (or having tried to run) in an environment."""

    environment: EnvironmentId
    number: int
    """Counts up within the environment; the highest live one serves."""
    commit: str
    created: datetime
    image: str = ""
    """The image's name on the engine; empty while it is being built."""
    failure: str = ""
    """Why it failed; empty while it hasn't."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What one branch of one project has, as the engine tells it."""

    id: EnvironmentId
    host: str
    url: str
    state: State
    created: datetime
    expires: datetime | None = None
    release: Release | None = None
    """The release that serves (or would, were it not asleep or crashing)."""
    previous: Release | None = None
    """The release that served before; `rollback` goes back to it."""
    pending: Release | None = None
    """The release that is being built or started now."""
    failed: Release | None = None
    """The last release that failed, where nothing has succeeded since."""
    reason: str = ""
    """Why the state is `failed`, in one line."""
    repository: str = ""
    """Where the branch comes from, without credentials; empty where only an image was given."""
    memory: int | None = None
    """Bytes in use by the serving release, where the engine's host tells."""

    @property
    def commit(self) -> str:
        """The commit that serves, or the one that is on its way, or the one that failed."""
        known = self.release or self.pending or self.failed
        return known.commit if known else ""
