"""The stories: deploy, destroy, rollback, sleep, wake, reap. No vendor is named here.

Each may be killed at any point and run again: it converges on the same end. The engine holds all state; what a story
needs to know, it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from branchline import naming
from branchline.cancellation import Cancellation
from branchline.environment import Environment, EnvironmentId, Release
from branchline.errors import (
    BranchlineError,
    BuildError,
    DeletedError,
    EngineError,
    NotFoundError,
    ReleaseError,
    RouterError,
    SourceError,
    SupersededError,
    TimedOutError,
)
from branchline.events import DeployStarted, Failed, Note, Phase, Publish, Ready, Removed
from branchline.phases import Stopwatch, phase
from branchline.ports import Adjustment, Deletion, Holdings, Platform, Push
from branchline.redaction import redact

_MEASURED = re.compile(r"\d+\.\d+")


def deploy(
    platform: Platform, push: Push, publish: Publish, cancellation: Cancellation, timeout: float | None = None
) -> Ready:
    """Builds the commit, runs it, and points the branch's URL at it. What serves until then goes on serving.

    `timeout` is in seconds, and ends with the URL serving the commit: retiring the old release has its own limits.

    Raises:
        SupersededError: a newer commit of the branch serves, or is on its way.
        DeletedError: the branch was deleted meanwhile; nothing of it is left.
        BuildError, ReleaseError, TimedOutError: it failed; why is on record.
    """
    environment, watch = push.environment, Stopwatch()
    publish = watch.listening(publish)
    with cancellation.deadline(timeout) as in_time, platform.lease.turn(push, cancellation, publish):
        present = platform.engine.find(environment)
        _refuse_older(push, present, publish)
        with platform.lease.slot(environment, cancellation, publish):
            release = platform.engine.begin(push)
            try:
                publish(DeployStarted(environment, push.commit, release.number))
                serving, unchanged = _release(platform, push, release, publish, cancellation)
                in_time.set()
            except (BuildError, ReleaseError, TimedOutError, EngineError, RouterError) as error:
                with suppress(BranchlineError):  # where the engine is what fails, the first error is the one to tell
                    platform.engine.fail(push, release, error.message)
                    platform.images.prune(environment.project)
                repeated = _failed_so_before(push, present, error.message)
                reason, *details = (redact(text, push.secrets) for text in (error.message, *error.details))
                publish(Failed(environment, push.commit, reason, tuple(details), repeated))
                if present is not None and present.release is not None:
                    older = present.release
                    publish(Note(environment, f"release {older.number}, commit {older.commit[:12]}, goes on serving"))
                raise
            except BaseException:
                with suppress(BranchlineError):
                    platform.engine.abandon(release)
                    platform.images.prune(environment.project)
                raise
        _undo_if_deleted(platform, push)
        ready = Ready(
            environment=environment,
            url=serving.url,
            commit=push.commit,
            release=serving.release.number if serving.release else release.number,
            seconds=watch.read(),
            first=present is None or present.release is None,
            unchanged=unchanged,
        )
        publish(ready)
        _retire(platform, environment, publish, cancellation)
    return ready


def _failed_so_before(push: Push, present: Environment | None, reason: str) -> bool:
    """Whether this commit's failure for this reason is on record, where engines keep the reason's beginning.

    Measured numbers in it, such as the seconds that a request was given, differ from one time to the next.
    """
    failed = present.failed if present is not None else None
    if failed is None or failed.commit != push.commit or not failed.failure:
        return False
    now, before = (_MEASURED.sub("#", text) for text in (redact(reason, push.secrets), failed.failure))
    return now.startswith(before)


def _release(
    platform: Platform, push: Push, release: Release, publish: Publish, cancellation: Cancellation
) -> tuple[Environment, bool]:
    """Builds and runs the release; returns what serves then, and whether it did so before."""
    with phase(push.environment, Phase.BUILD, publish) as building:
        image, built = platform.images.build(push, cancellation, publish)
        building.detail = "" if built else "this commit's image is there already"
    cancellation.check()
    if not push.force:
        serving = platform.engine.serving(push, image)
        if serving is not None:
            platform.engine.abandon(release)
            return serving, True
    return platform.engine.run(push, replace(release, image=image), cancellation, publish), False


def _refuse_older(push: Push, present: Environment | None, publish: Publish) -> None:
    """An older commit never replaces a newer one, however late its deploy comes."""
    if push.force or push.source is None or present is None or present.release is None:
        return
    serving = present.release.commit
    if serving == push.commit or push.source.is_ancestor(serving, push.commit):
        return
    # After a force-push, and in a shallow clone, history doesn't tell; where the branch is now does.
    if push.source.is_ancestor(push.commit, serving) or _is_at(push, serving):
        raise SupersededError(
            f"{push.commit[:12]} of {push.environment.branch} is older than {serving[:12]}, which serves",
            remedy=f"to go back on purpose: branchline rollback {push.environment.branch}, or deploy --force",
        )
    if not push.source.has(serving):
        text = f"{serving[:12]}, which serves, is not in this clone: it can't be told whether it is newer"
        publish(Note(push.environment, text, warning=True))


def _is_at(push: Push, commit: str) -> bool:
    """Whether the branch is at this commit now; not where that can't be asked."""
    try:
        return push.source is not None and push.source.tip(push.environment.branch) == commit
    except SourceError:
        return False


def _undo_if_deleted(platform: Platform, push: Push) -> None:
    """A deploy that ends after its branch was deleted removes what it made. An unreachable remote deletes nothing."""
    if push.source is None or not push.branch_known:
        return
    try:
        gone = push.source.tip(push.environment.branch) is None
    except SourceError:
        return
    if gone:
        platform.engine.destroy(push.environment)
        platform.images.prune(push.environment.project)
        raise DeletedError(f"{push.environment.branch} was deleted while its deploy was running; nothing of it is left")


def _retire(platform: Platform, environment: EnvironmentId, publish: Publish, cancellation: Cancellation) -> None:
    """What fails here fails nobody's deploy: the next deploy, or reap, removes what is left."""
    try:
        with phase(environment, Phase.RETIRE, publish):
            platform.engine.retire(environment, cancellation)
        platform.images.prune(environment.project)
    except (SupersededError, DeletedError):
        pass  # whoever comes next is waiting for the turn, and retires this too
    except BranchlineError as error:
        publish(Note(environment, f"not all is cleaned up yet: {error.message}", warning=True))


def destroy(
    platform: Platform | Holdings,
    environment: EnvironmentId,
    publish: Publish,
    cancellation: Cancellation,
    *,
    why: str = "",
    delivery: str = "",
) -> tuple[str, ...]:
    """Removes all that the branch has; returns what that was. A deploy of it that is running is cancelled.

    `why` is for those who hear of it, such as that the branch was deleted; `delivery` is the webhook's that said so.

    Running it again, or for a branch that never had anything, removes nothing and is no error.
    """
    with platform.lease.turn(Deletion(environment), cancellation, publish):
        removed = tuple(platform.engine.destroy(environment) + platform.images.prune(environment.project))
        publish(Removed(environment, removed, why, delivery))
    return removed


def rollback(
    platform: Platform, environment: EnvironmentId, publish: Publish, cancellation: Cancellation, timeout: float | None
) -> Ready:
    """Goes back to the release that served before, which was only stopped. Twice is there and back again.

    Raises:
        NotFoundError: there is none.
        ReleaseError: it isn't healthy any more; the present release goes on serving.
    """
    watch = Stopwatch()
    publish = watch.listening(publish)
    turn = platform.lease.turn(Adjustment(environment), cancellation, publish)
    with cancellation.deadline(timeout) as in_time, turn:
        serving = platform.engine.rollback(environment, cancellation, publish)
        in_time.set()
        number = serving.release.number if serving.release else 0
        ready = Ready(environment, serving.url, serving.commit, number, watch.read())
        publish(ready)
        _retire(platform, environment, publish, cancellation)
    return ready


def sleep(platform: Platform, environment: EnvironmentId, publish: Publish, cancellation: Cancellation) -> None:
    """Stops the serving release and frees its memory; the URL says so until it is woken."""
    with platform.lease.turn(Adjustment(environment), cancellation, publish):
        platform.engine.sleep(environment)


def wake(
    platform: Platform, environment: EnvironmentId, publish: Publish, cancellation: Cancellation, timeout: float | None
) -> None:
    """Starts a sleeping release again; returns once it serves."""
    with cancellation.deadline(timeout), platform.lease.turn(Adjustment(environment), cancellation, publish):
        platform.engine.wake(environment, cancellation, publish)


@dataclass(frozen=True, slots=True)
class Reapable:
    """Something that `reap` removes, and why."""

    environment: EnvironmentId
    why: str
    whole: bool
    """Whether the environment goes, or only what a killed deploy of it left."""
    resources: tuple[str, ...] = ()
    branch_gone: bool = False


def comes_from(environment: Environment, repository: str) -> bool:
    """Whether the environment's branch is of this repository, as far as it is known where it comes from."""
    theirs = environment.repository
    return not theirs or naming.repository_key(theirs) == naming.repository_key(repository)


Branches = Callable[[Environment], frozenset[str] | None]
"""The branches that there are now in the repository that an environment comes from; None where that isn't known, and
so no reason to remove it. Raises a BranchlineError where they can't be listed, which is never read as "none"."""


def reapable(platform: Platform | Holdings, branches: Branches, now: datetime) -> list[Reapable]:
    """What is to be removed: environments whose branch is gone or whose time is up, and leftovers of dead deploys.

    Each repository is asked once, and once more if it has environments of forks: git doesn't know pull requests.

    Raises:
        SourceError: a repository has no branches. That is never taken for "all are gone".
    """
    found: list[Reapable] = []
    listed: dict[tuple[str, str, bool], frozenset[str] | None] = {}
    for environment in platform.engine.environments():
        origin = environment.id.project, environment.repository, environment.id.branch.startswith(naming.FORKS)
        if origin not in listed:
            listed[origin] = _existing(branches, environment)
        existing = listed[origin]
        if existing is not None and environment.id.branch not in existing:
            found.append(Reapable(environment.id, "its branch is gone", whole=True, branch_gone=True))
        elif environment.expires is not None and environment.expires <= now:
            found.append(Reapable(environment.id, f"it expired at {environment.expires:%Y-%m-%d %H:%M}", whole=True))
    going = {item.environment for item in found}
    for owner, resources in platform.engine.leftovers().items():
        if owner not in going:
            found.append(
                Reapable(owner, "left over from a deploy that was killed", whole=False, resources=tuple(resources))
            )
    return found


def _existing(branches: Branches, environment: Environment) -> frozenset[str] | None:
    existing = branches(environment)
    if existing is not None and not existing:
        raise SourceError(
            f"the repository of {environment.id.project} has no branches at all, so nothing is removed",
            remedy="if that is right, remove the environments by name: branchline destroy BRANCH",
        )
    return existing


def reap(
    platform: Platform | Holdings,
    items: list[Reapable],
    branches: Branches,
    now: datetime,
    publish: Publish,
    cancellation: Cancellation,
) -> dict[Reapable, tuple[str, ...]]:
    """Removes them; returns what each had.

    A branch may have come back or been deployed since it was listed, so that is asked once more, when nobody else has
    its turn. One that can't be removed keeps none of the others.

    Raises:
        BranchlineError: after all the others, what kept the first one that couldn't be removed.
    """
    removed: dict[Reapable, tuple[str, ...]] = {}
    failures: list[BranchlineError] = []
    for item in items:
        try:
            with platform.lease.turn(Adjustment(item.environment), cancellation, publish):
                if item.whole and not _still_reapable(platform, item, branches, now):
                    continue
                remains = (
                    platform.engine.destroy(item.environment) if item.whole else platform.engine.sweep(item.environment)
                )
                removed[item] = tuple(remains)
                # An environment that goes on living has only lost what a killed deploy of it left.
                if item.whole or platform.engine.find(item.environment) is None:
                    publish(Removed(item.environment, removed[item], item.why))
        except BranchlineError as error:
            cancellation.check()
            failures.append(error)
    for project in platform.images.projects():
        platform.images.prune(project)
    if failures:
        raise failures[0]
    return removed


def _still_reapable(platform: Platform | Holdings, item: Reapable, branches: Branches, now: datetime) -> bool:
    found = platform.engine.find(item.environment)
    if found is None:
        return False
    if item.branch_gone:
        existing = _existing(branches, found)
        return existing is not None and item.environment.branch not in existing
    return found.expires is not None and found.expires <= now


def require(platform: Platform, environment: EnvironmentId) -> Environment:
    """The environment, or an error that names those that there are.

    Raises:
        NotFoundError: the branch has no environment.
    """
    found = platform.engine.find(environment)
    if found is not None:
        return found
    import difflib

    others = [item.id.branch for item in platform.engine.environments(environment.project)]
    near = difflib.get_close_matches(environment.branch, others, n=3, cutoff=0.4) or others[:5]
    remedy = f"there are: {', '.join(near)}" if near else f"{environment.project} has none; see 'branchline list --all'"
    raise NotFoundError(f"{environment.branch} of {environment.project} has no environment", remedy=remedy)
