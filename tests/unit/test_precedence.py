"""Which of two changes of one branch goes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from branchline.environment import EnvironmentId
from branchline.errors import DeletedError, SupersededError
from branchline.ports import Push
from branchline.precedence import gives_way, overtaken
from branchline.settings.application import Application
from branchline.source import open_repository
from tests.repositories import Repo

Pushes = tuple[Push, Push]


@pytest.fixture
def pushes(repository: Callable[..., Repo]) -> Pushes:
    """One of an older and one of a newer commit."""
    repo = repository({"file": "old"})
    older, newer = repo.head, repo.commit(files={"file": "new"})
    push = Push(
        EnvironmentId("preview", "shop", "main"),
        older,
        Application(),
        open_repository(str(repo.path), Path("/nowhere/needed")),
    )
    return push, replace(push, commit=newer)


def test_an_older_commit_gives_way_to_a_newer_one_and_to_nothing_else(pushes: Pushes) -> None:
    older, newer = pushes
    assert gives_way(older, newer.commit)
    assert not gives_way(newer, older.commit)
    assert not gives_way(older, older.commit)
    assert not gives_way(older, "")


def test_an_older_commit_goes_ahead_by_force_and_where_no_history_is_known(pushes: Pushes) -> None:
    older, newer = pushes
    assert not gives_way(replace(older, force=True), newer.commit)
    assert not gives_way(replace(older, source=None), newer.commit)
    assert not gives_way(older, "0" * 40)


def test_a_later_change_ends_a_push_unless_it_is_of_the_same_commit(pushes: Pushes) -> None:
    older, newer = pushes
    reason = overtaken(older, newer.commit)
    assert isinstance(reason, SupersededError)
    assert reason.message == f"{older.commit[:12]} of main is superseded by the newer commit {newer.commit[:12]}"
    assert isinstance(overtaken(older, ""), DeletedError)
    assert overtaken(older, older.commit) is None
