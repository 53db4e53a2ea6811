"""The file of the secrets that forges sign with."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from branchline.errors import ConfigurationError
from branchline.signing import FileSecrets


def test_whoever_comes_first_all_get_the_same_secret(tmp_path: Path) -> None:
    file = tmp_path / "state" / "secrets.json"
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: FileSecrets(file).read(), range(64)))
    assert len(set(got)) == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_rotations_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = FileSecrets(file).read()
    with ThreadPoolExecutor(8) as pool:
        steps = list(pool.map(lambda _: FileSecrets(file).rotate(), range(32)))
    before = dict(zip([step[0] for step in steps], [step[1] for step in steps], strict=True))
    current = FileSecrets(file).read()[0]
    for _ in steps:
        current = before.pop(current)  # each was the present one when the next was made: none was lost
    assert (before, (current,)) == ({}, first)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[1]", b'["a"', b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_said_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secrets.json"
    file.write_bytes(content)
    for use in (FileSecrets(file).read, FileSecrets(file).rotate):
        with pytest.raises(ConfigurationError, match=r"can't be read: it is damaged|holds no secret"):
            use()
    assert file.read_bytes() == content


def test_what_cannot_be_written_loses_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    valid = FileSecrets(file).read()
    file.with_name(".secrets.json.lock").unlink()
    file.with_name(".secrets.json.lock").mkdir()
    with pytest.raises(ConfigurationError, match="can't be written"):
        FileSecrets(file).rotate()
    assert json.loads(file.read_bytes()) == list(valid)
