"""What becomes of a webhook's delivery, whichever door it comes in by: the Lambda, or `branchline webhook serve`.

Deliveries are repeated, late and out of order. So a delivery says only which branch to look at, and that is decided
anew each time: a branch that exists in the forge again is left alone, and to remove what is gone is no error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from branchline import lifecycle, naming
from branchline.cancellation import Cancellation
from branchline.environment import Environment
from branchline.errors import BranchlineError
from branchline.events import Publish
from branchline.forges import forks, reader
from branchline.forges.refusals import RefusedError
from branchline.ports import Holdings, Platform
from branchline.telling import Forge
from branchline.webhooks import BranchDeleted, BranchPushed, Delivery, Ignored, Message, Ping, PullRequest

_LOOKS = 3
"""How often the forge is asked whether a branch exists that it says is deleted: what it reads from may lag behind."""
_BETWEEN_LOOKS = 2.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A branch whose environments are to go, as a delivery says."""

    forge: str
    repository: tuple[str, ...]
    """The repository's URLs."""
    branch: str
    delivery: str
    """The delivery's id."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the forge is answered."""

    status: int
    said: Mapping[str, object]
    """The body, as JSON."""
    removals: tuple[Removal, ...] = ()
    """What is to be done after it."""


def answer(
    forge: str, delivery: Delivery, secrets: Sequence[str], *, platform: str, fork_label: str, door: str
) -> Reply:
    """What a delivery is answered with, and what there is to do. Quick: no forge and no engine is asked.

    Args:
        forge: which forge it is said to come from, by the URL's path.
        delivery: as it arrived.
        secrets: those that are valid; a signature by any of them is.
        platform: the platform's name, for the answer to a ping.
        fork_label: the label that allows a fork's commit; empty for none.
        door: what answers, for the answer to a ping.
    """
    try:
        received = reader.receive(forge, delivery, secrets)
    except RefusedError as error:
        return Reply(error.status, {"error": error.message})
    removals, reasons = list[Removal](), list[str]()
    for message in received.messages:
        if isinstance(message, Ping):
            said = {"status": "pong", "platform": platform, "door": door, "delivery": received.delivery_id}
            return Reply(200, said)
        gone = _gone(message, fork_label)
        if isinstance(gone, str):
            reasons.append(gone)
        else:
            removals.append(Removal(forge, gone.repository, gone.branch, received.delivery_id))
    if removals:
        branches = [removal.branch for removal in removals]
        said = {"status": "accepted", "removing": branches, "delivery": received.delivery_id}
        return Reply(202, said, tuple(removals))
    return Reply(202, {"status": "ignored", "reason": "; ".join(reasons), "delivery": received.delivery_id})


def _gone(message: Message, fork_label: str) -> BranchDeleted | str:  # noqa: PLR0911 - one answer a message
    """The branch that the message says is gone, or why there is nothing to do."""
    match message:
        case BranchDeleted():
            return message
        case PullRequest(fork=True, action="closed"):
            return BranchDeleted(message.repository, forks.environment_branch(message))
        case PullRequest(fork=True):
            if forks.allowed(message, fork_label):
                return f"the commit {message.commit[:12]} of a fork may be deployed, and CI does that"
            return "a fork's commits are not deployed by themselves"
        case PullRequest():
            return "an environment lives as long as its branch, whatever becomes of a pull request"
        case BranchPushed():
            return "pushes are deployed by CI"
        case Ignored():
            return message.reason
        case Ping():
            return "ping"


def environments_of(platform: Platform | Holdings, removal: Removal) -> list[Environment]:
    """The environments of the branch, in all projects that come from its repository.

    Where it isn't known what an environment comes from, its project has to be called as the repository is.
    """
    keys = {naming.repository_key(url).lower() for url in removal.repository}
    names = {naming.project(key.rpartition("/")[2]) for key in keys}

    def comes_from_it(environment: Environment) -> bool:
        if environment.repository:
            return naming.repository_key(environment.repository).lower() in keys
        return environment.id.project in names

    found = platform.engine.environments()
    return [each for each in found if each.id.branch == removal.branch and comes_from_it(each)]


def remove(
    platform: Platform | Holdings,
    removal: Removal,
    forge: Forge | None,
    listening: Callable[[Environment], Publish],
    cancellation: Cancellation,
) -> dict[str, tuple[str, ...]] | None:
    """Removes what the branch has, unless the forge says that the branch exists.

    Doing it again, or at the same time as another, ends the same.

    Args:
        platform: where.
        removal: which branch.
        forge: who can be asked whether the branch exists; None where nobody can.
        listening: who hears of what happens to an environment.
        cancellation: ends it early.

    Returns:
        What was removed, by project; None where the branch exists, so that the delivery is an old one.

    Raises:
        BranchlineError: after all the others, what kept the first environment that couldn't be removed.
    """
    found = environments_of(platform, removal)
    if found and forge is not None and _exists(forge, removal, cancellation):
        return None
    why = "its pull request was closed" if removal.branch.startswith(forks.PREFIX) else "its branch was deleted"
    removed: dict[str, tuple[str, ...]] = {}
    failures: list[BranchlineError] = []
    for each in found:
        try:
            removed[each.id.project] = lifecycle.destroy(
                platform, each.id, listening(each), cancellation, why=why, delivery=removal.delivery
            )
        except BranchlineError as error:
            cancellation.check()
            failures.append(error)
    if failures:
        raise failures[0]
    return removed


def _exists(forge: Forge, removal: Removal, cancellation: Cancellation) -> bool:
    """Whether the branch, or the fork's pull request, is there after all: the delivery is old.

    A forge that can't be asked has signed the delivery, and that is enough.
    """
    repository = removal.repository[0]
    try:
        for look in range(_LOOKS):
            if look:
                cancellation.wait(_BETWEEN_LOOKS)
            number = removal.branch.removeprefix(forks.PREFIX)
            if number != removal.branch and number.isdecimal() and int(number) in forge.pull_requests(repository):
                continue
            if not forge.has_branch(repository, removal.branch):
                return False
    except BranchlineError:
        cancellation.check()
        return False
    return True
