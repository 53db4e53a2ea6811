"""Bookmarks in files: for their owner alone, whole at any moment, and gone with the environment."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError
from branchline.notifiers.bookmarks import FileBookmarks

LOGIN = EnvironmentId("local", "shop", "feature/login")
MAIN = EnvironmentId("local", "shop", "main")


def test_values_are_kept_for_each_environment_until_it_is_forgotten(tmp_path: Path) -> None:
    kept = FileBookmarks(tmp_path / "state" / "bookmarks")
    assert kept.read(LOGIN, "slack-thread") == ""
    kept.forget(LOGIN)
    kept.write(LOGIN, "slack-thread", "C1 1.2")
    kept.write(LOGIN, "slack-thread", "C1 3.4")
    kept.write(LOGIN, "other", "x")
    kept.write(MAIN, "slack-thread", "C1 5.6")
    assert FileBookmarks(kept.directory).read(LOGIN, "slack-thread") == "C1 3.4"
    kept.forget(LOGIN)
    kept.forget(LOGIN)
    assert kept.read(LOGIN, "slack-thread") == kept.read(LOGIN, "other") == ""
    assert kept.read(MAIN, "slack-thread") == "C1 5.6"


def test_only_their_owner_reads_them(tmp_path: Path) -> None:
    kept = FileBookmarks(tmp_path / "bookmarks")
    kept.write(EnvironmentId("local", "shop", "b\udcff"), "slack-thread", "C1 1.2")
    (file,) = kept.directory.iterdir()
    assert (kept.directory.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    kept = FileBookmarks(tmp_path)
    kept.write(LOGIN, "slack-thread", "C1 1.2")
    (file,) = tmp_path.iterdir()
    for content in (b"", b"\xff", b"[]", b'{"value": 3}', b'{"value": "C1'):
        file.write_bytes(content)
        assert kept.read(LOGIN, "slack-thread") == ""


def test_writers_at_the_same_time_leave_one_of_their_values(tmp_path: Path) -> None:
    kept = FileBookmarks(tmp_path)
    values = {f"C1 {number}.{'0' * 4000}" for number in range(8)}
    writers = [threading.Thread(target=kept.write, args=(LOGIN, "slack-thread", value)) for value in values]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert kept.read(LOGIN, "slack-thread") in values
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BranchlineError, match="can't be written to: Not a directory"):
        FileBookmarks(tmp_path / "file" / "bookmarks").write(LOGIN, "slack-thread", "x")
