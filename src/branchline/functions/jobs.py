"""What the function does when nobody waits for it: remove what a branch had, and look for what was missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from branchline import lifecycle, reception
from branchline.cancellation import Cancellation
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.bookmarks import DynamoBookmarks
from branchline.engines.ecs.estate import EcsEstate
from branchline.engines.ecs.image_store import EcsImageStore
from branchline.engines.ecs.lease import DynamoLease
from branchline.environment import Environment
from branchline.errors import BranchlineError
from branchline.events import Event, Publish, Removed
from branchline.forges.api import forge_of
from branchline.forges.judging import ForgeBranches
from branchline.forges.reporting import ForgeReporter
from branchline.functions.configuration import Configuration
from branchline.notifiers.dispatch import Dispatch
from branchline.notifiers.slack import Slack
from branchline.ports import Holdings
from branchline.reception import Removal
from branchline.telling import About, Notifier

_PATIENCE = 15.0
"""Seconds for all that is told when the work is done."""
_TIME = 240.0
"""Seconds for a job. The function has 300."""


class Log(Protocol):
    """Writes a line to the function's log."""

    def __call__(self, what: str, **details: object) -> None: ...


def holdings(aws: Aws, platform: str) -> Holdings:
    """The platform, for who only looks and removes."""
    lease, images = DynamoLease(aws, platform), EcsImageStore(aws, platform)
    return Holdings(name=platform, engine=EcsEstate(aws, platform, lease, images), images=images, lease=lease)


def remove(aws: Aws, configuration: Configuration, removal: Removal, log: Log) -> dict[str, Any]:
    """Removes what the branch had.

    Raises:
        BranchlineError: something couldn't be removed; doing it again goes on with it.
    """
    platform, cancellation = holdings(aws, configuration.platform), Cancellation()
    begun, calls = time.monotonic(), aws.calls.total()
    with _telling(aws, configuration, log) as listening, cancellation.deadline(_TIME):
        forge = forge_of(removal.repository[0], configuration.forges)
        removed = reception.remove(platform, removal, forge, listening, cancellation)
    log(
        "removed" if removed is not None else "left alone, as the forge has the branch",
        branch=removal.branch,
        delivery=removal.delivery,
        removed=removed,
        seconds=round(time.monotonic() - begun, 2),
        calls=aws.calls.total() - calls,
    )
    return {"removed": removed}


def reap(aws: Aws, configuration: Configuration, log: Log) -> dict[str, Any]:
    """Removes environments whose branch is gone or whose time is up, and what dead deploys left.

    Of a repository whose branches can't be listed, nothing is removed for its branch's sake. That, and whatever
    couldn't be removed, is logged as a failure, which alarms. It is no error, as Lambda would repeat it at once.
    """
    platform, now, cancellation = holdings(aws, configuration.platform), datetime.now(UTC), Cancellation()
    branches, removed = ForgeBranches(configuration.forges), dict[str, tuple[str, ...]]()
    problems = branches.problems
    try:
        with _telling(aws, configuration, log) as listening, cancellation.deadline(_TIME):
            known = {each.id: each for each in platform.engine.environments()}

            def publish(event: Event) -> None:
                if isinstance(event, Removed):
                    removed[f"{event.environment.project}/{event.environment.branch}"] = event.resources
                if (owner := known.get(event.environment)) is not None:  # leftovers are of nothing that anybody knows
                    listening(owner)(event)

            items = lifecycle.reapable(platform, branches, now)
            lifecycle.reap(platform, items, branches, now, publish, cancellation)
    except BranchlineError as error:
        problems.append(error.message)
    log("reaped", removed=removed)
    if problems:
        log("failed", job="reap", error="; ".join(problems), remedy="see docs/how-to/webhooks.md")
    return {"removed": removed, "problems": problems}


@contextmanager
def _telling(aws: Aws, configuration: Configuration, log: Log) -> Generator[Callable[[Environment], Publish]]:
    """Gives who hears of each environment's events; in the end, waits for them a while, and logs what wasn't told."""
    dispatch = Dispatch(_notifiers(aws, configuration), About())

    def listening(environment: Environment) -> Publish:
        about = About(repository=environment.repository, commit=environment.commit)
        return lambda event: dispatch.publish(event, about)

    try:
        yield listening
    finally:
        for problem in dispatch.finish(_PATIENCE):
            log("not told", problem=problem)


def _notifiers(aws: Aws, configuration: Configuration) -> list[Notifier]:
    bookmarks = DynamoBookmarks(aws, configuration.platform)
    found: list[Notifier] = [Slack(**configuration.slack, bookmarks=bookmarks)] if configuration.slack else []
    if configuration.forges:
        found.append(ForgeReporter(configuration.forges))
    return found
