"""Env files: what a release gets from them, what of it is secret, and how mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline.errors import ConfigurationError
from branchline.redaction import redact
from branchline.settings.application import Application
from branchline.settings.env_files import read_env


def failure(directory: Path, text: str | bytes) -> str:
    """The error that an env file leads to; checks that it shows no value."""
    content = text if isinstance(text, bytes) else text.encode()
    (directory / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        read_env(Application(env_files=[".env"]), directory)
    error = raised.value
    assert "hunter2" not in f"{error.message}{error.remedy}{error.details}{error.__cause__}"
    assert error.exit_code == 2
    assert error.remedy
    return error.message


def test_later_files_win_over_earlier_ones_and_over_env(tmp_path: Path) -> None:
    (tmp_path / "one.env").write_text("A=file-one\nB=file-one\n# comment\n\nexport QUOTED='a # b'\n")
    (tmp_path / "two.env").write_text('B=file-two\r\nLINES="1\\n2"\nEMPTY=\n')
    application = Application(env={"A": "plain", "KEPT": "plain"}, env_files=["one.env", "two.env"])
    env, _ = read_env(application, tmp_path)
    assert env == {
        "A": "file-one",
        "B": "file-two",
        "KEPT": "plain",
        "QUOTED": "a # b",
        "LINES": "1\n2",
        "EMPTY": "",
    }


def test_values_from_files_are_secret_and_those_of_env_are_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=hunter2\nPIN=1234\nFLAG=1\n")
    _, secrets = read_env(Application(env={"LEVEL": "debug"}, env_files=[".env"]), tmp_path)
    assert secrets == {"hunter2", "1234"}


def test_a_value_that_a_later_file_replaces_is_still_secret(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("TOKEN=hunter2-old\n")
    (tmp_path / "two").write_text("TOKEN=hunter2-new\n")
    _, secrets = read_env(Application(env_files=["one", "two"]), tmp_path)
    assert secrets == {"hunter2-old", "hunter2-new"}


def test_a_secret_of_several_lines_is_hidden_from_logs_that_are_passed_on_line_by_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('KEY="BEGIN KEY\n  c2VjcmV0\n==\n"\n')
    _, secrets = read_env(Application(env_files=[".env"]), tmp_path)
    shown = [redact(line, secrets) for line in ("loaded: BEGIN KEY", "c2VjcmV0", "done")]
    assert "BEGIN" not in shown[0]
    assert "c2VjcmV0" not in shown[1]
    assert shown[2] == "done"


def test_variables_of_the_deploying_machine_do_not_slip_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_TEST_HOST", "hunter2")
    (tmp_path / ".env").write_text('A=$BRANCHLINE_TEST_HOST\nB="${BRANCHLINE_TEST_HOST}"\n')
    env, _ = read_env(Application(env_files=[".env"]), tmp_path)
    assert env == {"A": "$BRANCHLINE_TEST_HOST", "B": "${BRANCHLINE_TEST_HOST}"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\n\nhunter2 without equals\n", ".env:4: expected KEY=value"),
        ("A=1\nhunter2\n", ".env:2: expected KEY=value"),
        ('# c\n\nA="hunter2\n', ".env:3: expected KEY=value"),
        ("A=1\n9A=hunter2\n", ".env:2: the name before '=' is no name"),
        ("hunter2-A=1\n", ".env:1: the name before '=' is no name"),
        ("A=hunter2\0\n", ".env:1: A: the value holds a NUL character"),
        (b"A=hunter2\xff\n", ".env: not UTF-8 text"),
    ],
)
def test_a_malformed_file_names_the_line_and_never_the_value(text: str | bytes, message: str, tmp_path: Path) -> None:
    assert failure(tmp_path, text).startswith(message)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"secrets\.env: no such env file in "):
        read_env(Application(env_files=["secrets.env"]), tmp_path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(ConfigurationError, match=r"\.env can't be read: Is a directory"):
        read_env(Application(env_files=[".env"]), tmp_path)


@settings(deadline=None)
@given(content=st.binary() | st.text(alphabet="AB=\"'# \n\\$\0\r").map(str.encode))
def test_any_file_is_read_or_refused_with_a_clear_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.env"
    file.write_bytes(content)
    try:
        env, secrets = read_env(Application(env_files=[file.name]), file.parent)
    except ConfigurationError as error:
        assert error.message.startswith("any.env")
    else:
        assert secrets >= {value for value in env.values() if len(value) >= 4}


def test_a_missing_file_is_passed_over_where_secrets_come_by_reference(tmp_path: Path) -> None:
    application = Application(env={"A": "1"}, env_files=[".env"])
    assert read_env(application, tmp_path, may_be_missing=True) == ({"A": "1"}, frozenset())
