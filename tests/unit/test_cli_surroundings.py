"""What a user sees whose machine lacks something: an engine, git, a home, somewhere to write to."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from branchline.cli import main
from branchline.engines.docker import connection
from branchline.errors import ConfigurationError, EngineError
from branchline.platform import state_directory
from branchline.settings.platform import PlatformSettings
from tests.repositories import Repo
from tests.unit.conftest import NO_ENGINE, NOWHERE, Command


@pytest.mark.parametrize(
    ("address", "error", "remedy", "code"),
    [
        (NOWHERE, NO_ENGINE, "systemctl start docker", 1),
        ("tcp://127.0.0.1:1", "no Docker Engine answers at tcp://127.0.0.1:1", "point DOCKER_HOST", 1),
        ("tcp://192.0.2.1:2375", "at tcp://192.0.2.1 is on another machine", "on the engine's machine", 2),
        ("ssh://someone@host.test", "at ssh://host.test is on another machine", "or over ssh", 2),
        ("ssh://localhost", "'ssh://localhost' can't be the address", "unix:///var/run/docker.sock", 2),
        ("/var/run/docker.sock", "'/var/run/docker.sock' can't be the address", "unix:///var/run/docker.sock", 2),
        ("tcp://localhost", "'tcp://localhost' can't be the address", "tcp://127.0.0.1:2375", 2),
        ("tcp://127.0.0.1:999999", "can't be the address", "docker.host", 2),
        ("tcp://[::1", "can't be the address", "docker.host", 2),
        ("nonsense", "'nonsense' can't be the address", "docker.host", 2),
    ],
)
def test_an_engine_that_cannot_be_used_is_explained(
    command: Command, shop: Repo, address: str, error: str, remedy: str, code: int
) -> None:
    there = {"DOCKER_HOST": address}
    for arguments in (["list"], ["deploy"], ["destroy", "main"]):
        command.refuses(*arguments, cwd=shop.path, error=error, remedy=remedy, code=code, env=there)
    checked = command("doctor", "--json", cwd=shop.path, env=there)
    assert checked.code == 1
    engine = next(item for item in json.loads(checked.out) if item["check"] == "engine")
    assert engine["result"] == "failure"
    assert error in engine["finding"]
    assert list(command.state.iterdir()) == []


def test_a_socket_that_nobody_listens_at_any_more_is_no_engine(command: Command, shop: Repo, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    address = f"unix://{tmp_path / 's'}"
    there = {"DOCKER_HOST": address}
    command.refuses("list", cwd=shop.path, error=f"no Docker Engine answers at {address}", code=1, env=there)


def test_an_engine_that_this_user_has_no_right_to_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "s"
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        child = os.fork()
        if child == 0:  # rights are a process's, so it takes one
            if os.geteuid() == 0:
                os.chmod(tmp_path.parents[1], 0o711)  # noqa: PTH101
                os.chmod(tmp_path.parent, 0o711)  # noqa: PTH101
                os.chmod(tmp_path, 0o711)  # noqa: PTH101
                os.setuid(65534)
            try:
                connection.check_address(f"unix://{path}")
                said = "it may be used"
            except EngineError as error:
                said = f"{error.message}; {error.remedy}"
            os.write(writer, said.encode())
            os._exit(0)
        os.waitpid(child, 0)
    said = os.read(reader, 10_000).decode()
    os.close(reader)
    os.close(writer)
    assert said.startswith(f"no permission to use the Docker Engine at unix://{path}; add your user to the group")


def context_file(directory: Path, name: str, text: str) -> None:
    """A docker context, where the docker command keeps it."""
    file = directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_a_docker_context_that_cannot_be_used_is_not_passed_over(command: Command, shop: Repo, tmp_path: Path) -> None:
    """The SDK would take the default socket, which is another engine than the user chose."""
    missing = {"DOCKER_HOST": "", "DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "nope"}
    command.refuses("list", cwd=shop.path, error="there is no docker context 'nope'", remedy="context ls", env=missing)
    (tmp_path / "config.json").write_text('{"currentContext": "gone"}')
    current = {"DOCKER_HOST": "", "DOCKER_CONFIG": str(tmp_path)}
    command.refuses("list", cwd=shop.path, error="there is no docker context 'gone'", env=current)
    context_file(tmp_path, "broken", "{")
    broken = current | {"DOCKER_CONTEXT": "broken"}
    command.refuses("list", cwd=shop.path, error="the docker context 'broken' can't be used", env=broken)
    endpoints = {"docker": {"Host": NOWHERE}}
    context_file(tmp_path, "other", json.dumps({"Name": "other", "Metadata": {}, "Endpoints": endpoints}))
    command.refuses("list", cwd=shop.path, error=NO_ENGINE, code=1, env=current | {"DOCKER_CONTEXT": "other"})


def test_certificates_that_are_missing_are_named(command: Command, shop: Repo) -> None:
    secure = {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nonexistent"}
    command.refuses("list", cwd=shop.path, error="/nonexistent lacks ca.pem", remedy="DOCKER_CERT_PATH", env=secure)


def test_an_unreachable_remote_is_named_without_its_password(command: Command, tmp_path: Path) -> None:
    for arguments in (["reap"], ["deploy", "--branch", "main"]):
        url = "http://ada:correct-horse@127.0.0.1:1/shop.git"
        result = command(*arguments, "--repo", url, cwd=tmp_path)
        assert result.code == 1
        assert result.error.startswith("can't read http://127.0.0.1:1/shop.git: ")
        assert "git ls-remote http://127.0.0.1:1/shop.git" in result.err
        assert "correct-horse" not in result.err


def test_a_machine_without_git_says_how_to_get_it(command: Command, shop: Repo, tmp_path: Path) -> None:
    without = {"PATH": str(tmp_path)}
    command.refuses(
        "deploy", cwd=shop.path, error="git is not installed", remedy="apt-get install git", code=1, env=without
    )
    found = json.loads(command("doctor", "--json", cwd=shop.path, env=without).out)
    assert next(item for item in found if item["check"] == "git")["result"] == "failure"


def test_a_user_without_a_home_is_told_to_name_a_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # nobody's, so /etc/passwd knows no home either
    with pytest.raises(ConfigurationError, match="no home directory") as caught:
        state_directory(PlatformSettings())
    assert caught.value.remedy == "set BRANCHLINE_STATE_DIR"


def in_shell(command: Command, script: str, cwd: Path) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Runs a script in which $B is the command; returns what it wrote to the file `code`, and how it ended."""
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        env=command.environment | {"B": f"{sys.executable} -m branchline"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not any(line.startswith(("Traceback", "Exception ignored")) for line in done.stderr.splitlines())
    return (cwd / "code").read_text().strip(), done


def test_a_current_directory_that_was_deleted_is_named(command: Command, tmp_path: Path) -> None:
    for arguments in ("deploy", "list", "show main", "init", "reap"):
        script = f'mkdir gone; cd gone; rmdir ../gone; $B {arguments}; echo $? >"{tmp_path}/code"'
        code, done = in_shell(command, script, tmp_path)
        assert code == "2"
        assert done.stderr.splitlines()[0] == "error: the current directory doesn't exist any more"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing(command: Command, shop: Repo, closed: str) -> None:
    for arguments, expected in (("schema", "0"), ("list", "1"), ("logs main", "1"), ("exec main ls", "1")):
        code, _ = in_shell(command, f"$B {arguments} {closed}; echo $? >code", shop.path)
        assert code == expected, arguments


def test_output_that_cannot_be_written_is_an_error_and_no_traceback(command: Command, tmp_path: Path) -> None:
    code, done = in_shell(command, "$B schema >/dev/full; echo $? >code", tmp_path)
    assert code == "1"
    assert done.stderr.splitlines()[0] == "error: No space left on device"


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(command: Command, tmp_path: Path) -> None:
    code, done = in_shell(command, "$B schema | head -c 1; echo $? >code", tmp_path)
    assert (code, done.stdout, done.stderr) == ("0", "{", "")


def test_a_name_that_is_not_utf8_survives_every_encoding(command: Command, shop: Repo) -> None:
    branch = os.fsdecode(b"caf\xe9")
    for encoding in ("utf-8:strict", "latin-1", "ascii", "utf-8:surrogateescape"):
        result = command("deploy", "--branch", branch, cwd=shop.path, env={"PYTHONIOENCODING": encoding})
        assert result.code == 2
        assert "has no branch" in result.err
        listed = command("show", branch, cwd=shop.path, env={"PYTHONIOENCODING": encoding})
        assert listed.error == NO_ENGINE
    asked = command("deploy", "--json", "--branch", branch, cwd=shop.path)
    asked.out.encode("ascii")
    assert json.loads(asked.out)["exit_code"] == 2


def test_a_defect_of_ours_says_so_with_all_that_its_report_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(main.cli, "main", fail)
    monkeypatch.setattr(sys, "argv", ["branchline", "list", "--json"])
    assert main._run() == 1  # pyright: ignore[reportPrivateUsage]
    printed = capsys.readouterr()
    assert "error: branchline itself failed: ZeroDivisionError: by chance" in printed.err
    assert "please report it" in printed.err
    assert any("in fail" in line for line in json.loads(printed.out)["details"])
