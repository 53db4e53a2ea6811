"""AWS on this machine: MiniStack, with real images, real containers and real traffic, one for each worker."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import httpx
import pytest

from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.settings.platform import Ecs
from tests import leftovers
from tests.aws.app import app
from tests.aws.base import make_base
from tests.conftest import RUN_VARIABLE, Run
from tests.driver import Branchline, free_port
from tests.leftovers import remove_image
from tests.repositories import Repo
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.aws.shop import Shop

REGION = "us-east-1"


@dataclass(frozen=True)
class MiniStack:
    """The emulator, and what boto3 and the command line need to use it as AWS."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        """Where images are pushed to and pulled from: the ECR that it is doesn't answer at ECR's own name."""
        return f"127.0.0.1:{self.port}"

    @property
    def load_balancer(self) -> str:
        """The setting `ecs.load_balancer`: a load balancer answers below the emulator's own address."""
        return f"{self.url}/_alb/{{name}}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@pytest.fixture(scope="session")
def ministack(run: Run, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """Started for the worker, and ended with all the containers and images that it had."""
    made = MiniStack(free_port())
    directory = tmp_path_factory.mktemp("ministack")
    environment = os.environ | {
        "GATEWAY_PORT": str(made.port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "STATE_DIR": str(directory),
        "TMPDIR": str(directory),
        "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0",  # these two would listen on every address
        "IOT_MTLS_ENABLED": "0",
    }
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "ministack"], cwd=directory, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            eventually(lambda: _answers(made), f"MiniStack answers; its log is {directory / 'log'}", timeout=60)
            yield made
            httpx.post(f"{made.url}/_ministack/reset", timeout=30)
        finally:
            process.terminate()
            _remove_all(engine, made)


def _answers(ministack: MiniStack) -> bool:
    try:
        return httpx.get(f"{ministack.url}/_ministack/health").status_code == 200
    except httpx.TransportError:
        return False


def _remove_all(engine: docker.DockerClient, ministack: MiniStack) -> None:
    for row in engine.api.containers(all=True, filters={"label": "ministack.instance"}):
        if row["Labels"]["ministack.instance"].endswith(f":{ministack.port}"):
            engine.api.remove_container(row["Id"], force=True)
    remove_images(engine, ministack)


def remove_images(engine: docker.DockerClient, ministack: MiniStack, repository: str = "") -> None:
    """Removes the images that the engine pulled from the emulator: an ECS host of its own would have them."""
    for row in engine.api.images():
        for reference in row["RepoTags"] or []:
            if reference.startswith(f"{ministack.registry}/{repository}"):
                remove_image(engine, reference)


@pytest.fixture
def aws(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """The emulator's default account, the only one whose load balancers carry traffic."""
    for name, value in ministack.environment.items():
        monkeypatch.setenv(name, value)
    return Aws(Ecs())


@pytest.fixture
def aws_account(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account of the test's own, for what needs no traffic: an access key of 12 digits is an account's id there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "".join(secrets.choice("123456789") for _ in range(12)))
    return Aws(Ecs())


@pytest.fixture
def ecs_platform(run: Run) -> str:
    """The name of a platform of the test's own."""
    return f"{run.platforms}{secrets.token_hex(3)}"


_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app))
"""
"""moto's server, which answers one request at a time then: its own threads trip over each other's changes."""


@pytest.fixture(scope="session")
def moto(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server, the second opinion on what AWS refuses."""
    port, directory = free_port(), tmp_path_factory.mktemp("moto")
    command = [sys.executable, "-c", _MOTO, str(port)]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, cwd=directory, stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: _moto_answers(port), "moto answers", timeout=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _moto_answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/moto-api/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def moto_aws(aws: Aws, moto: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An account of moto's that is the test's own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "".join(secrets.choice("123456789") for _ in range(12)))
    return Aws(Ecs())


@pytest.fixture
def base(aws: Aws, ecs_platform: str) -> Base:
    """The base of a platform of the test's own."""
    return make_base(aws, ecs_platform, domain="preview.test")


@pytest.fixture
def branchline(
    ministack: MiniStack, engine: docker.DockerClient, base: Base, repository: Callable[..., Repo]
) -> Iterator[Branchline]:
    """The command line on that platform. What it leaves in the end is the test's affair; see `tests.aws.sweep`."""
    state = Path(tempfile.mkdtemp(prefix="bl-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "AWS_"))}
    environment |= ministack.environment | {
        RUN_VARIABLE: os.environ[RUN_VARIABLE],
        "BRANCHLINE_CONFIG": str(state / "platform.toml"),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    (state / "platform.toml").write_text(
        f'platform = "{base.platform}"\nengine = "ecs"\nstate_dir = "{state}"\n[ecs]\n'
        f'registry = "{ministack.registry}"\nload_balancer = "{ministack.load_balancer}"\n'
    )
    router = ministack.load_balancer.replace("{name}", base.load_balancer.name)
    made = Branchline(base.platform, ministack.port, state, environment, router)
    try:
        yield made
    finally:
        made("destroy", "--all", "--yes", cwd=state)
        shutil.rmtree(state)
        remove_images(engine, ministack, f"branchline.{base.platform}/")


@pytest.fixture
def shop(
    ministack: MiniStack,
    aws: Aws,
    engine: docker.DockerClient,
    tiny_base: str,
    repository: Callable[..., Repo],
    ecs_platform: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    """An application whose release answers '1', on a platform behind a proxy. In the end nothing of it is left."""
    from tests.aws.shop import open_shop  # which needs this module

    repo = repository(app(tiny_base, "1"))
    with open_shop(ministack, repo, ecs_platform, tmp_path / "state", monkeypatch) as made:
        yield made
    remove_images(engine, ministack, f"branchline.{ecs_platform}/")
    # A build whose process was killed may end after the next one, which didn't wait for the lease to go stale.
    leftovers.remove(engine, [each for each in leftovers.resources(engine, ecs_platform) if each.kind == "image"])
