"""Repositories given as a URL: a mirror that is kept, shared and repaired, and remotes that don't answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from branchline.errors import BranchlineError, ConfigurationError, NotFoundError, SourceError
from branchline.settings.application import Build
from branchline.source import Repository, open_repository
from branchline.source import git as git_module
from tests.repositories import Repo, git
from tests.waiting import eventually

MakeRepository = Callable[..., Repo]


@pytest.fixture
def shop(repository: MakeRepository) -> Repo:
    """A repository that is pushed to its origin."""
    repo = repository({"Dockerfile": "FROM scratch\n"})
    repo.add_origin()
    return repo


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "state/mirrors"


def opened(shop: Repo, cache: Path) -> Repository:
    return open_repository(shop.origin.as_uri(), cache)


def test_a_url_is_mirrored_once_and_then_brought_up_to_date(shop: Repo, cache: Path) -> None:
    first = shop.head
    found = opened(shop, cache)
    assert (found.url, found.root, found.current_branch()) == (shop.origin.as_uri(), None, None)
    assert (found.project_name(), found.resolve("main"), found.branches()) == ("shop", first, {"main"})
    assert found.read(first, "Dockerfile") == "FROM scratch\n"
    with found.context(first, Build()) as stream:
        assert b"FROM scratch" in stream.read()
    second = shop.commit()
    git(shop.path, "tag", "v2")
    git(shop.path, "push", "--quiet", "--tags", "origin", "main")
    again = opened(shop, cache)
    assert again.directory == found.directory
    assert again.resolve("main") == again.resolve("main", "v2") == second
    assert again.is_ancestor(first, second)


def test_tip_and_branches_are_asked_of_the_remote_each_time(shop: Repo, cache: Path) -> None:
    found = opened(shop, cache)
    shop.branch("late")
    second = shop.commit()
    shop.push("main", "late")
    assert found.tip("main") == second
    assert found.tip("late") is not None
    assert found.branches() == {"main", "late"}
    shop.delete_branch("late")
    shop.push("late")
    assert found.tip("late") is None
    assert found.branches() == {"main"}


def test_a_tip_is_the_branch_of_exactly_that_name(shop: Repo, cache: Path) -> None:
    for name in ("team/login", "refs/heads/login"):
        shop.branch(name)
        shop.push(name)
    git(shop.path, "tag", "login")
    git(shop.path, "push", "--quiet", "origin", "refs/tags/login")
    assert opened(shop, cache).tip("login") is None
    assert opened(shop, cache).tip("team/login") == shop.head


def test_deleted_forced_and_regrouped_branches_are_followed(shop: Repo, cache: Path) -> None:
    shop.branch("feature")
    shop.push("feature")
    assert opened(shop, cache).resolve("feature") == shop.head
    shop.delete_branch("feature")
    shop.push("feature")
    shop.branch("feature/login")  # can't stand beside a branch `feature`
    git(shop.path, "commit", "--quiet", "--amend", "--message", "again")
    shop.push("feature/login")
    shop.push("main", force=True)
    found = opened(shop, cache)
    assert found.resolve("main") == shop.head
    assert found.tip("feature") is None
    with pytest.raises(NotFoundError, match="no branch 'feature'") as caught:
        found.resolve("feature")
    assert "feature/login" in caught.value.remedy


def test_an_empty_remote_says_so(tmp_path: Path, shop: Repo, cache: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "empty.git")
    with pytest.raises(NotFoundError, match="has no commits yet"):
        open_repository((tmp_path / "empty.git").as_uri(), cache)


def test_different_urls_have_different_mirrors(shop: Repo, repository: MakeRepository, cache: Path) -> None:
    other = repository({"Dockerfile": ""}, name="other")
    other.add_origin()
    assert opened(shop, cache).directory != opened(other, cache).directory
    assert opened(other, cache).resolve("main") == other.head


@pytest.mark.parametrize("damage", ["HEAD", "objects", "config.lock", "packed-refs.lock", "refs/heads/main.lock"])
def test_a_damaged_mirror_is_made_anew(shop: Repo, cache: Path, damage: str) -> None:
    mirror = opened(shop, cache).directory
    if damage == "objects":
        for pack in (mirror / "objects").rglob("*.*"):
            pack.chmod(0o600)
            pack.write_bytes(b"")
    else:
        (mirror / damage).write_bytes(b"")
    shop.commit()
    shop.push("main")
    assert opened(shop, cache).resolve("main") == shop.head


def test_an_unreachable_remote_leaves_the_mirror_alone(shop: Repo, cache: Path) -> None:
    mirror = opened(shop, cache).directory
    away = shop.origin.rename(shop.origin.with_name("away.git"))
    with pytest.raises(SourceError, match="does not appear to be a git repository"):
        opened(shop, cache)
    assert git(mirror, "rev-parse", "refs/heads/main") == shop.head
    away.rename(shop.origin)
    assert opened(shop, cache).resolve("main") == shop.head


def test_processes_that_open_a_url_at_once_share_one_mirror(shop: Repo, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from branchline.source import open_repository\n"
        "found = open_repository(sys.argv[1], Path(sys.argv[2])); print(found.directory, found.resolve('main'))"
    )
    command = [sys.executable, "-c", code, shop.origin.as_uri(), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert {error for _, error in answers} == {b""}
    assert {output.split()[1].decode() for output, _ in answers} == {shop.head}
    assert len({output for output, _ in answers}) == 1
    assert [path.suffix for path in sorted(cache.iterdir())] == [".git", ".lock"]


def test_a_clone_that_was_killed_halfway_is_cleared_away_by_the_next(
    shop: Repo, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    slow = tmp_path / "slow"
    slow.write_text(f'#!/bin/sh\ntouch {started}\nwhile [ ! -e {go} ]; do sleep 0.02; done\nexec "$@"\n')
    slow.chmod(0o755)
    (tmp_path / "gitconfig").write_text(f"[uploadpack]\n\tpackObjectsHook = {slow}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    code = (
        "import sys; from pathlib import Path; from branchline.source import open_repository\n"
        "open_repository(sys.argv[1], Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, shop.origin.as_uri(), str(cache)])
    eventually(started.exists, "the clone is under way")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.suffix for path in sorted(cache.iterdir())] == [".lock", ".new"]
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert opened(shop, cache).resolve("main") == shop.head
    assert [path.suffix for path in sorted(cache.iterdir())] == [".git", ".lock"]
    go.touch()  # what the killed one had started ends by itself


def test_a_cache_that_cannot_be_written_says_so(shop: Repo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="can't keep a mirror") as caught:
        opened(shop, tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.message


class Refusing(BaseHTTPRequestHandler):
    """Wants credentials, and is content with none."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers 401, and the Authorization headers it saw."""
    seen: list[str] = []
    handler = type("Handler", (Refusing,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def texts(error: BranchlineError) -> str:
    return "\n".join([error.message, error.remedy, *error.details, repr(error)])


def test_credentials_are_used_and_never_shown_or_stored(
    shop: Repo, cache: Path, refusing: tuple[str, list[str]]
) -> None:
    address, seen = refusing
    with pytest.raises(SourceError, match="Authentication failed") as caught:
        open_repository(f"http://ada:s3cr%40t@{address}/shop.git", cache)
    assert b64decode(seen[-1].removeprefix("Basic ")) == b"ada:s3cr@t"
    assert f"http://{address}/shop.git" in caught.value.message
    stored = b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())
    for secret in ("ada", "s3cr"):
        assert secret not in texts(caught.value)
        assert secret.encode() not in stored


def test_credentials_in_a_clones_remote_are_not_shown_either(shop: Repo, refusing: tuple[str, list[str]]) -> None:
    address, seen = refusing
    git(shop.path, "remote", "set-url", "origin", f"http://ada:s3cr%40t@{address}/shop.git")
    found = open_repository(str(shop.path), Path("/nowhere/needed"))
    assert found.url == f"http://{address}/shop.git"
    with pytest.raises(SourceError) as caught:
        found.branches()
    assert seen[-1]
    assert "s3cr" not in texts(caught.value)


def test_a_remote_that_wants_a_password_fails_without_asking_for_one(
    cache: Path, tmp_path: Path, refusing: tuple[str, list[str]], shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    window = tmp_path / "window"
    window.write_text(f"#!/bin/sh\ntouch {asked}\n")
    window.chmod(0o755)
    monkeypatch.delenv("GIT_TERMINAL_PROMPT")
    monkeypatch.setenv("SSH_ASKPASS", str(window))
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(SourceError, match="could not read Username") as caught:
        open_repository(f"http://{refusing[0]}/shop.git", cache)
    assert "git ls-remote" in caught.value.remedy
    assert not asked.exists()
    monkeypatch.setenv("GIT_ASKPASS", str(window))  # the user's own choice, such as CI's token
    with pytest.raises(SourceError):
        open_repository(f"http://{refusing[0]}/shop.git", cache)
    assert asked.exists()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["http", "git"])
def test_a_remote_that_says_nothing_is_given_up(
    scheme: str, silent: str, shop: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "SILENCE", 0.8)
    started = time.monotonic()
    with pytest.raises(SourceError, match=f"^{scheme}://{silent}/shop.git gave no answer for 0.8 seconds$"):
        open_repository(f"{scheme}://{silent}/shop.git", cache)
    assert time.monotonic() - started < 20


def test_nothing_listens(shop: Repo, cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match=f"can't read http://127.0.0.1:{port}/x.git: .*onnect") as caught:
        open_repository(f"http://127.0.0.1:{port}/x.git", cache)
    assert caught.value.exit_code == 1


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh in front of the real one that writes down its arguments and fails as ssh does; returns where."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ssh", "my-ssh"):
        (programs / name).write_text(
            f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/ssh.log\n'
            'echo "ada@git.test: Permission denied (publickey)." >&2\nexit 255\n'
        )
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path / "ssh.log"


@pytest.mark.parametrize("url", ["ada@git.test:team/shop.git", "ssh://ada@git.test/team/shop.git", "git.test:shop"])
def test_ssh_never_asks_and_its_own_words_are_the_error(url: str, fake_ssh: Path, shop: Repo, cache: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_repository(url, cache)
    assert caught.value.message == f"can't read {url}: ada@git.test: Permission denied (publickey)."
    assert all("-o BatchMode=yes" in call for call in fake_ssh.read_text().splitlines())


def test_the_users_own_way_to_call_ssh_is_kept(
    fake_ssh: Path, shop: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(shop.path, "remote", "set-url", "origin", "git.test:shop.git")
    git(shop.path, "config", "core.sshCommand", "my-ssh -i key")
    with pytest.raises(SourceError):
        open_repository(str(shop.path), cache).branches()
    monkeypatch.setenv("GIT_SSH_COMMAND", "my-ssh -i other")
    with pytest.raises(SourceError):
        open_repository("git.test:shop.git", cache)
    calls = fake_ssh.read_text().splitlines()
    assert [call.split()[:3] for call in (calls[0], calls[-1])] == [["my-ssh", "-i", "key"], ["my-ssh", "-i", "other"]]
    assert not any("BatchMode" in call for call in calls)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("-x", "neither a path nor a URL"),
        ("--upload-pack=touch pwned", "neither a path nor a URL"),
        ("", "neither a path nor a URL"),
        ("a\0b", "neither a path nor a URL"),
        ("ext::sh -c touch% pwned", "by 'ext'"),
        ("fd::17", "by 'fd'"),
        ("ftp://git.test/x", "by 'ftp'"),
        ("https://ada:s3/cret@git.test/x", "port that is not a number"),
    ],
)
def test_locations_that_could_run_commands_or_mean_nothing_are_refused(
    location: str, message: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_repository(location, cache)
    assert not (tmp_path / "pwned").exists()
    assert not cache.exists()
    assert "cret" not in texts(caught.value)


def test_a_host_that_looks_like_an_option_never_reaches_ssh(fake_ssh: Path, shop: Repo, cache: Path) -> None:
    with pytest.raises(SourceError, match="blocked"):
        open_repository("ssh://-oProxyCommand=touch/x", cache)
    assert not fake_ssh.exists()


def test_an_existing_path_with_a_colon_is_a_path(repository: MakeRepository, tmp_path: Path, cache: Path) -> None:
    repo = repository({"Dockerfile": ""}, name="a:b")
    assert open_repository(str(repo.path), cache).root == repo.path


def test_a_long_url_is_no_path(cache: Path) -> None:
    with pytest.raises(SourceError, match="can't read"):
        open_repository(f"file:///{'x' * 300}", cache)


def test_opening_many_at_once_in_one_process_is_safe(shop: Repo, cache: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert {found.resolve("main") for found in pool.map(lambda _: opened(shop, cache), range(6))} == {shop.head}
