"""What tests stand on: a real engine, base images without a registry, platforms and repositories of their own.

A run of the tests, whatever the number of its workers, is a `Run`. All that it makes carries its id, so that several
runs on one machine don't meet, and the run fails if any of that is left at its end.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from branchline.engines.docker import connection
from branchline.errors import BranchlineError
from tests import images, leftovers
from tests.repositories import ENVIRONMENT, Repo
from tests.waiting import eventually

RUN_VARIABLE = "TEST_RUN_OF_BRANCHLINE"
"""Inherited by all that the tests start, so that what still runs at the end is found. Not a name of a setting."""


@dataclass(frozen=True)
class Run:
    """One run of the tests."""

    id: str
    directory: Path
    """Shared by its workers, and removed at its end."""

    @property
    def platforms(self) -> str:
        """How the names of its test platforms start."""
        return f"t-{self.id}"

    @property
    def images(self) -> str:
        """How the names of its base images start."""
        return f"branchline-test-{self.id}"

    @property
    def engine_was_used(self) -> Path:
        """A file that exists once a test used the engine."""
        return self.directory / "engine-was-used"


RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    inherited: dict[str, str] = getattr(config, "workerinput", {})
    if RUN_VARIABLE in inherited:
        run = Run(inherited[RUN_VARIABLE], Path(inherited["branchline_directory"]))
    else:
        run = Run(secrets.token_hex(3), Path(tempfile.mkdtemp(prefix="branchline-test-")))
        config.add_cleanup(lambda: shutil.rmtree(run.directory))
    config.stash[RUN] = run
    os.environ[RUN_VARIABLE] = run.id


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist which run it belongs to."""
    run = node.config.stash[RUN]
    node.workerinput |= {RUN_VARIABLE: run.id, "branchline_directory": str(run.directory)}


@pytest.hookimpl(trylast=True)  # the workers have ended, and the closing line is still to come
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Removes what the whole run shared, and fails it if tests left anything else behind."""
    if hasattr(session.config, "workerinput"):
        return
    run = session.config.stash[RUN]
    if left := remove_all(run):
        report = pytest.TestReport(
            nodeid="the whole run",
            location=("", None, "the whole run"),
            keywords={},
            outcome="failed",
            longrepr="Left behind, and removed now:\n" + "\n".join(left),
            when="teardown",
        )
        reporter: Any = session.config.pluginmanager.getplugin("terminalreporter")
        reporter.stats.setdefault("error", []).append(report)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def remove_all(run: Run) -> list[str]:
    """Removes everything of the run; returns what should not have been there."""
    found: list[str] = []
    marks = f"{RUN_VARIABLE}={run.id}", run.platforms
    try:
        eventually(lambda: not leftovers.processes(*marks), "the run's processes have ended", timeout=5)
    except AssertionError:
        running = leftovers.processes(*marks)
        leftovers.kill(running)
        found += map(str, running)
    if run.engine_was_used.exists():
        with closing(docker.from_env()) as client:
            left = leftovers.resources(client, run.platforms)
            leftovers.remove(client, left)
            found += map(str, left)
            for row in client.api.images(name=f"{run.images}/*"):
                leftovers.remove_image(client, row["Id"])
    return found


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    """The run of the tests that this one is part of."""
    return request.config.stash[RUN]


@pytest.fixture(scope="session")
def engine(run: Run) -> Iterator[docker.DockerClient]:
    """The Docker Engine that DOCKER_HOST, the docker context or the default socket names."""
    try:
        connection.check_address(str(connection.arguments("").get("base_url", "unix:///var/run/docker.sock")))
    except BranchlineError as error:
        pytest.fail(
            f"this test needs a Docker Engine ('make test' sees to one): {error}; {error.remedy}", pytrace=False
        )
    run.engine_was_used.touch()
    with closing(docker.from_env()) as client:
        yield client


def made_once(
    run: Run, engine: docker.DockerClient, name: str, make: Callable[[docker.DockerClient, str], None]
) -> str:
    """Has the first worker that needs the image make it, while the others wait; returns its name."""
    image = f"{run.images}/{name}:latest"
    with (run.directory / f"{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not engine.api.images(name=image):
            make(engine, image)
    return image


@pytest.fixture(scope="session")
def tiny_base(run: Run, engine: docker.DockerClient) -> str:
    """An image of 2 MB to build FROM, with BusyBox: a shell, httpd, nc and the like."""
    return made_once(run, engine, "base", images.import_tiny)


@pytest.fixture(scope="session")
def python_base(run: Run, engine: docker.DockerClient) -> str:
    """An image of 50 to 80 MB to build FROM, with BusyBox and the python3 that runs the tests."""
    return made_once(run, engine, "python", images.import_python)


@pytest.fixture
def platform_name(run: Run, engine: docker.DockerClient) -> Iterator[str]:
    """The name of a platform of the test's own. The test fails if the engine still has anything of it at the end."""
    name = f"{run.platforms}{secrets.token_hex(3)}"
    yield name
    left = leftovers.resources(engine, name)
    leftovers.remove(engine, left)
    if left:
        pytest.fail("Left behind, and removed now:\n" + "\n".join(map(str, left)), pytrace=False)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Repo]:
    """Makes git repositories: `repository({"Dockerfile": "FROM scratch"}, name="shop")`, on main with one commit.

    For the whole test, git doesn't see the settings of whoever runs it, whatever starts it.
    """
    for variable in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(variable)
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)

    def make(files: dict[str, str | bytes], name: str = "shop") -> Repo:
        repo = Repo.create(tmp_path / name)
        repo.commit("First commit", files)
        return repo

    return make
