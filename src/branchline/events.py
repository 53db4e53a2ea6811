"""What happens, as data. The stories publish these; the terminal, and later Slack, forges and metrics, listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from branchline.environment import EnvironmentId


class Phase(StrEnum):
    """The parts of a deploy, in their order."""

    BUILD = "build"
    START = "start"
    HEALTHY = "healthy"
    ROUTE = "route"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class DeployStarted:
    """A commit's deploy has its turn."""

    environment: EnvironmentId
    commit: str
    release: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The work waits for something else, such as another deploy of the branch."""

    environment: EnvironmentId
    reason: str


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A part of the deploy began."""

    environment: EnvironmentId
    phase: Phase


@dataclass(frozen=True, slots=True)
class PhaseFinished:
    """A part of the deploy succeeded."""

    environment: EnvironmentId
    phase: Phase
    seconds: float
    detail: str = ""
    """What is worth knowing about it, such as that the image was there already."""


@dataclass(frozen=True, slots=True)
class Output:
    """A line that a build printed."""

    environment: EnvironmentId
    line: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know, such as which rule chose the port."""

    environment: EnvironmentId
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The URL serves the commit."""

    environment: EnvironmentId
    url: str
    commit: str
    release: int
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    first: bool = False
    """Whether the environment had never served before."""
    unchanged: bool = False
    """Whether it served this very release already."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The deploy failed. What served before goes on serving."""

    environment: EnvironmentId
    commit: str
    reason: str
    details: tuple[str, ...] = ()
    repeated: bool = False
    """Whether this very commit has failed before for this very reason."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The environment is gone, with all that it had."""

    environment: EnvironmentId
    resources: tuple[str, ...]
    """Empty where there was nothing to remove."""
    why: str = ""
    """What it was removed for, such as that its branch is gone."""
    delivery: str = ""
    """The id of the webhook's delivery that asked for it, by which the forge's list has it."""


Event = DeployStarted | Waiting | PhaseStarted | PhaseFinished | Output | Note | Ready | Failed | Removed
Publish = Callable[[Event], None]
