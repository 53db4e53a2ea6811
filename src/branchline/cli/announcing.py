"""Has those who are to hear of it told what a command does, beside whoever watches it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from branchline.cli.output import hang, paint
from branchline.environment import Environment, EnvironmentId
from branchline.errors import BranchlineError
from branchline.events import Event, Publish
from branchline.platform import notifiers
from branchline.settings.platform import PlatformSettings
from branchline.telling import About

if TYPE_CHECKING:
    from branchline.notifiers.dispatch import Dispatch
    from branchline.source import Repository

_PATIENCE, _IMPATIENCE = 5.0, 1.0
"""Seconds that a command waits for its news to be told: once its work is over, and once it was interrupted."""


@dataclass(frozen=True, slots=True)
class Announcements:
    """Where a command's news goes, if it goes anywhere."""

    _dispatch: Dispatch | None

    def listening(self, publish: Publish, abouts: Callable[[], Mapping[EnvironmentId, About]]) -> Publish:
        """`publish`, with everybody listening who is to be told.

        `abouts` gives what may be said of each environment. It is asked only if anybody is told, and at once, since
        an environment that is gone can't be asked about. What it can't find out isn't said.
        """
        dispatch = self._dispatch
        if dispatch is None:
            return publish
        known: Mapping[EnvironmentId, About] = {}
        with suppress(BranchlineError):
            known = abouts()

        def heard(event: Event) -> None:
            dispatch.publish(event, known.get(event.environment))
            publish(event)

        return heard

    def by_whom(self, command: str) -> str:
        """Why something is removed, where that is since somebody ran a command; empty where nobody is told."""
        return f"{_user()} ran branchline {command}" if self._dispatch is not None else ""


@contextmanager
def announcing(settings: PlatformSettings) -> Generator[Announcements]:
    """For the block, those whom the operator wants to be told; after it, they get a moment to be told.

    Whoever couldn't be told gets a line on standard error, and the command ends as it would have.

    Raises:
        ConfigurationError: one of them can't work as it is set.
    """
    found = notifiers(settings)
    if not found:
        yield Announcements(None)
        return
    from branchline.notifiers.dispatch import Dispatch

    dispatch, patience = Dispatch(found, About(logs=job_log())), _PATIENCE
    try:
        yield Announcements(dispatch)
    except KeyboardInterrupt:
        patience = _IMPATIENCE
        raise
    finally:
        try:
            problems = dispatch.finish(patience)
        except KeyboardInterrupt:  # the work is over: only the waiting is interrupted
            problems = dispatch.finish(0)
        with suppress(OSError):  # nobody reads it any more
            for line in problems:
                hang(paint("warning: ", err=True, fg="yellow"), line, err=True)


def of_commit(repository: Repository | None, commit: str) -> About:
    """What there is to say of a commit that is deployed."""
    if repository is None:
        return About(commit=commit, logs=job_log())
    return About(
        repository=repository.url,
        commit=commit,
        author=repository.author(commit),
        email=repository.email(commit),
        title=repository.subject(commit),
        logs=job_log(),
    )


def of_environment(environment: Environment, commit: str = "") -> About:
    """What there is to say of an environment of which only the engine tells; `commit` is in place of what serves."""
    return About(repository=environment.repository, commit=commit or environment.commit, logs=job_log())


def job_log(environ: Mapping[str, str] = os.environ) -> str:
    """The URL of the CI job that runs this; empty outside of CI, and in a CI system that doesn't tell."""
    run = [environ.get(f"GITHUB_{part}", "") for part in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    if all(run):
        return "{}/{}/actions/runs/{}".format(*run)
    return environ.get("CI_JOB_URL") or environ.get("BUILD_URL", "")  # GitLab's; Jenkins'


def _user() -> str:
    """Who runs this: in CI, whoever the job is for."""
    named = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    if named:
        return named
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"
