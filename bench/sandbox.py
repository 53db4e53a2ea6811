"""A platform, a repository and an image for one benchmark, all of which are gone when it ends."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker

from bench.measuring import BenchError, Run, run
from tests import leftovers
from tests.images import Entry, busybox, import_image, shared_libraries
from tests.repositories import ENVIRONMENT, Repo

BRANCHLINE = Path(sys.executable).with_name("branchline")
_WEB_SERVER = """\
user root;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
    access_log off;
    keepalive_requests 1000000;
    server { listen 8000 backlog=1024; location / { return 200 "release RELEASE\\n"; } }
}
"""


@dataclass(frozen=True)
class Sandbox:
    """Where a benchmark works."""

    platform: str
    port: int
    """Where the platform's router listens."""
    directory: Path
    repo: Repo
    base: str
    """The image that the repository's own is built from."""
    environment: dict[str, str]
    engine: docker.DockerClient

    def branchline(self, *arguments: str, env: dict[str, str] | None = None) -> Run:
        """Runs a command in the repository."""
        return run([BRANCHLINE, *arguments], cwd=self.repo.path, env=self.environment | (env or {}))

    def deploy(self, *arguments: str, env: dict[str, str] | None = None) -> tuple[Run, Any]:
        """Deploys; returns also what it said as JSON."""
        done = self.branchline("deploy", "--json", *arguments, env=env)
        return done, json.loads(done.out)

    def commit(self, release: str, files: dict[str, str] | None = None) -> str:
        """Commits an application that answers `release RELEASE`."""
        served = {"nginx.conf": _WEB_SERVER.replace("RELEASE", release)}
        return self.repo.commit(f"Release {release}", served | (files or {}))

    def address(self, branch: str) -> str:
        """Where the branch's container itself listens, as `address:port`."""
        wanted = {"label": [f"branchline:platform={self.platform}", f"branchline:branch={branch}"]}
        (found,) = self.engine.api.containers(filters=wanted)
        (network,) = found["NetworkSettings"]["Networks"].values()
        return f"{network['IPAddress']}:8000"


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Within the block, a platform named `bench-…` with nothing in it, and a repository with an application."""
    platform = f"bench-{uuid4().hex[:8]}"
    directory = Path(tempfile.mkdtemp(prefix="bl-bench-"))
    engine = docker.from_env()
    base = f"{platform}/base:latest"
    port = free_port()
    # PYTHONPYCACHEPREFIX: as installed, with compiled modules, wherever this environment says they may not be written.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BRANCHLINE_", "GIT_", "PYTHON", "DOCKER_BUILDKIT"))
    }
    environment = kept | {
        **ENVIRONMENT,
        "PYTHONPYCACHEPREFIX": str(directory / "compiled"),
        "BRANCHLINE_PLATFORM": platform,
        "BRANCHLINE_STATE_DIR": str(directory / "state"),
        "BRANCHLINE_ROUTER_HTTP_PORT": str(port),
    }
    try:
        import_image(engine, base, _base_files())
        repo = Repo.create(directory / "shop")
        here = Sandbox(platform, port, directory, repo, base, environment, engine)
        here.commit("0", {"Dockerfile": _dockerfile(base), ".dockerignore": ".git\n"})
        yield here
    finally:
        _clean_up(platform, directory, environment, engine)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clean_up(platform: str, directory: Path, environment: dict[str, str], engine: docker.DockerClient) -> None:
    for arguments in (["destroy", "--all"], ["router", "stop"]):
        try:
            run([BRANCHLINE, *arguments], cwd=directory, env=environment)
        except (BenchError, OSError) as error:  # what is left of it goes below
            print(f"  cleaning up: {error}", file=sys.stderr)
    leftovers.kill(leftovers.processes(str(directory)))
    leftovers.remove(engine, leftovers.resources(engine, platform))
    for image in engine.api.images(filters={"reference": f"{platform}/*"}):
        leftovers.remove_image(engine, image["Id"])
    shutil.rmtree(directory, ignore_errors=True)


def _dockerfile(base: str) -> str:
    """Its first step is the same at each commit, so that it comes from the cache."""
    return (
        f"FROM {base}\n"
        "RUN mkdir -p /srv/www /var/log/nginx /var/lib/nginx\n"
        "COPY . /srv/www\n"
        "EXPOSE 8000\n"
        'CMD ["nginx", "-c", "/srv/www/nginx.conf", "-g", "daemon off;"]\n'
    )


def _base_files() -> list[Entry]:
    """BusyBox and Debian's nginx: a server that is never what a request waits for."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if not program:
        raise BenchError("no nginx: 'make bench' installs it")
    libraries: list[Entry] = [(str(library), library) for library in sorted(shared_libraries([Path(program)]))]
    return [*busybox(), ("/bin/nginx", Path(program)), *libraries, ("/etc/ld.so.cache", Path("/etc/ld.so.cache"))]
