"""AWS on this machine: MiniStack with a base and a repository, all of which are gone when the benchmark ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import docker.errors
import httpx

from bench.measuring import BenchError, Run, run
from bench.sandbox import BRANCHLINE, free_port
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.settings.platform import Ecs
from tests.aws.base import make_base
from tests.images import import_tiny
from tests.leftovers import remove_image
from tests.repositories import ENVIRONMENT, Repo

REGION = "us-east-1"
DOMAIN = "preview.test"
_START_SECONDS = 60.0
_START = "trap 'exit 0' TERM; httpd -f -p 8000 -h /www & wait\n"
"""It ends at once when it is told to: the emulator's calls wait for that."""


@dataclass(frozen=True)
class AwsSandbox:
    """Where a benchmark of the engine `ecs` works."""

    platform: str
    url: str
    """The emulator's."""
    registry: str
    directory: Path
    repo: Repo
    base: Base
    aws: Aws
    environment: dict[str, str]
    """What `branchline`, boto3 and the AWS command line need to use the emulator as AWS."""

    @property
    def router(self) -> str:
        """The URL of the base's load balancer."""
        return f"{self.url}/_alb/{self.base.load_balancer.name}/"

    def branchline(self, *arguments: str) -> Run:
        """Runs a command in the repository."""
        return run([BRANCHLINE, *arguments], cwd=self.repo.path, env=self.environment)

    def deploy(self, branch: str) -> tuple[Run, Any]:
        """Deploys the branch as it is; returns also what that said as JSON."""
        done = self.branchline("deploy", "--json", "--branch", branch)
        return done, json.loads(done.out)

    def commit(self, release: str) -> str:
        """Commits an application that answers `release RELEASE`."""
        return self.repo.commit(f"Release {release}", {"www/index.html": f"release {release}\n"})

    def answer(self, host: str) -> str:
        """What the load balancer answers for the host: the page, or a status."""
        answer = httpx.get(self.router, headers={"Host": host}, timeout=30)
        return answer.text.strip() if answer.is_success else str(answer.status_code)

    def verify(self, host: str, release: str) -> None:
        """Returns if the release is what the host serves, and the only one.

        Raises:
            BenchError: it isn't.
        """
        answers = {self.answer(host) for _ in range(10)}
        if answers != {f"release {release}"}:
            raise BenchError(f"{host} answers {' and '.join(sorted(answers))}, not 'release {release}'")


@contextmanager
def aws_sandbox(shards: int = 1) -> Iterator[AwsSandbox]:
    """Within the block, an emulator with a base named `bench-…`, and a repository with a small application."""
    platform = f"bench-{uuid4().hex[:6]}"
    engine = docker.from_env()
    with ExitStack() as cleaning:
        directory = Path(tempfile.mkdtemp(prefix="bl-bench-"))
        cleaning.callback(shutil.rmtree, directory, ignore_errors=True)
        port = cleaning.enter_context(_ministack(directory, engine))
        url, registry = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
        environment = _environment(directory, url)
        cleaning.enter_context(_within(environment))
        aws = Aws(Ecs())
        base = make_base(aws, platform, domain=DOMAIN, shards=shards)
        _write_settings(directory, platform, url, registry)
        image = f"{platform}/base:latest"
        cleaning.callback(_remove_images, engine, f"{platform}/")
        import_tiny(engine, image)
        here = AwsSandbox(platform, url, registry, directory, Repo.create(directory / "shop"), base, aws, environment)
        here.repo.commit(
            "An application", {"Dockerfile": _dockerfile(image), ".dockerignore": ".git\n", "start": _START}
        )
        yield here


def _dockerfile(base: str) -> str:
    return f'FROM {base}\nCOPY . /\nEXPOSE 8000\nCMD ["sh", "/start"]\n'


def _environment(directory: Path, url: str) -> dict[str, str]:
    """PYTHONPYCACHEPREFIX: as installed, with compiled modules, wherever we are told that they may not be written."""
    ours = ("BRANCHLINE_", "AWS_", "GIT_", "PYTHON", "DOCKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        **ENVIRONMENT,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPYCACHEPREFIX": str(directory / "compiled"),
        "BRANCHLINE_CONFIG": str(directory / "platform.toml"),
        "DOCKER_CONFIG": str(directory / "docker"),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,  # the command line of this version reads no other
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _write_settings(directory: Path, platform: str, url: str, registry: str) -> None:
    (directory / "platform.toml").write_text(
        f'platform = "{platform}"\nengine = "ecs"\nstate_dir = "{directory / "state"}"\n'
        f'[ecs]\nregistry = "{registry}"\nload_balancer = "{url}/_alb/{{name}}"\n'
    )


@contextmanager
def _within(environment: Mapping[str, str]) -> Iterator[None]:
    """This process uses the emulator, too."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in environment.items() if name.startswith("AWS_")})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _ministack(directory: Path, engine: docker.DockerClient) -> Iterator[int]:
    """Runs MiniStack; the port that it listens on. Its containers and images are gone afterwards."""
    port, state = free_port(), directory / "ministack"
    state.mkdir()
    environment = os.environ | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "STATE_DIR": str(state),
        "TMPDIR": str(state),
        "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0",  # these two would listen on every address
        "IOT_MTLS_ENABLED": "0",
    }
    command = [sys.executable, "-m", "ministack"]
    with (
        (state / "log").open("wb") as log,
        subprocess.Popen(command, cwd=state, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_healthy(port, process, state / "log")
            yield port
        finally:
            with suppress(httpx.HTTPError):
                httpx.post(f"http://127.0.0.1:{port}/_ministack/reset", timeout=60)
            process.terminate()
            for row in engine.api.containers(all=True, filters={"label": "ministack.instance"}):
                if row["Labels"]["ministack.instance"].endswith(f":{port}"):
                    with suppress(docker.errors.NotFound):
                        engine.api.remove_container(row["Id"], force=True, v=True)
            _remove_images(engine, f"127.0.0.1:{port}/")


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/_ministack/health").is_success:
                return
        time.sleep(0.1)
    raise BenchError(f"MiniStack doesn't answer:\n{log.read_text(errors='replace')[-2000:]}")


def _remove_images(engine: docker.DockerClient, prefix: str) -> None:
    for row in engine.api.images():
        for reference in row["RepoTags"] or []:
            if reference.startswith(prefix):
                remove_image(engine, reference)
