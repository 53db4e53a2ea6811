"""AWS on this machine for as long as a demo runs: MiniStack, whose registry, containers and load balancers are real."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

REGION = "us-east-1"
_READY_SECONDS = 30
_STOP_SECONDS = 10


@dataclass(frozen=True)
class Emulator:
    """Where it answers, and what makes boto3 and `branchline` take it for AWS."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        """Where images are pushed to and pulled from."""
        return f"127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """With credentials that are nobody's, and none of this user's."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def containers(self, engine: docker.DockerClient) -> list[str]:
        """The ids of the containers that it runs as ECS tasks, ended ones too."""
        rows = engine.api.containers(all=True, filters={"label": "ministack.instance"})
        return [row["Id"] for row in rows if row["Labels"]["ministack.instance"].endswith(f":{self.port}")]

    def images(self, engine: docker.DockerClient) -> list[str]:
        """The images that were pulled from its registry, as an ECS host keeps them."""
        names = (name for row in engine.api.images() for name in row["RepoTags"] or ())
        return [name for name in names if name.startswith(f"{self.registry}/")]


@contextmanager
def running(port: int, directory: Path) -> Iterator[Emulator]:
    """Started for the block, and ended with all the containers and images that it had, whatever becomes of the block.

    Its files and its log are in `directory`. It is in a session of its own, so that a Ctrl-C is not its end: the
    commands that are interrupted still need it.
    """
    emulator = Emulator(port)
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "STATE_DIR": str(directory),
        "TMPDIR": str(directory),
        "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0",  # these two would listen on every address
        "IOT_MTLS_ENABLED": "0",
    }
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            cwd=directory,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not emulator.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"MiniStack does not answer. It said:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield emulator
    finally:
        _end(process)
        _remove_all(emulator)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_all(emulator: Emulator) -> None:
    engine = docker.from_env()
    for container in emulator.containers(engine):
        with suppress(docker.errors.NotFound):
            engine.api.remove_container(container, force=True, v=True)
    for image in emulator.images(engine):
        with suppress(docker.errors.ImageNotFound):
            engine.api.remove_image(image, force=True)
