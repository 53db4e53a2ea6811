"""Which of two changes of one branch goes first, on every engine: the latest wins, unless it is an older commit."""

from __future__ import annotations

from branchline.errors import BranchlineError, DeletedError, SupersededError
from branchline.ports import Push


def gives_way(push: Push, other: str) -> bool:
    """Whether a push that comes now is older than the commit that is on its way; '' stands for a deletion."""
    return (
        other not in ("", push.commit)
        and push.source is not None
        and not push.force
        and push.source.is_ancestor(push.commit, other)
    )


def overtaken(push: Push, later: str) -> BranchlineError | None:
    """What ends a push when a later change wants its environment: a push of the commit `later`, '' for a deletion.

    A later push of the same commit only waits, so the answer is None.
    """
    if later == push.commit:
        return None
    return superseded(push, later) if later else destroyed(push)


def superseded(push: Push, newer: str) -> SupersededError:
    """The word for a deploy that a newer commit has overtaken."""
    return SupersededError(
        f"{push.commit[:12]} of {push.environment.branch} is superseded by the newer commit {newer[:12]}",
        remedy="nothing to do; 'deploy --force' deploys an older commit on purpose",
    )


def destroyed(push: Push) -> DeletedError:
    """The word for a deploy whose environment is being removed."""
    return DeletedError(f"{push.environment.branch} was destroyed while its deploy was running")
