"""What forges say by webhook, as data, whichever forge it is. No I/O happens here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["opened", "synchronised", "reopened", "closed", "labelled"]
"""What happened to a pull request: `synchronised` is that it has new commits, `closed` also that it was merged."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook request, as it arrived."""

    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BranchPushed:
    """A branch was made or moved, and is at this commit."""

    repository: tuple[str, ...]
    """The repository's URLs, all that the forge tells, the one for HTTPS first."""
    branch: str
    commit: str


@dataclass(frozen=True, slots=True)
class BranchDeleted:
    """A branch is gone."""

    repository: tuple[str, ...]
    branch: str


@dataclass(frozen=True, slots=True)
class PullRequest:
    """Something happened to a pull request (on GitLab: a merge request)."""

    repository: tuple[str, ...]
    """The one that it would be merged into."""
    number: int
    action: Action
    branch: str
    """Its source branch, in the fork if it comes from one."""
    commit: str
    """The latest one."""
    fork: bool
    """Whether its commits come from another repository, and so from anybody."""
    label: str = ""
    """The label that was just given, where that is the action."""


@dataclass(frozen=True, slots=True)
class Ping:
    """The forge, or `branchline webhook test`, tries whether anybody is there."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Anything that Branchline does nothing about."""

    reason: str
    """In a few words, for whoever looks at the forge's list of deliveries."""


Message = BranchPushed | BranchDeleted | PullRequest | Ping | Ignored
