"""Routers with a directory of their own, each ended with its test."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from branchline.engines.docker.router.process import Router
from branchline.settings.platform import PlatformSettings
from branchline.settings.platform import Router as RouterSettings
from tests.conftest import Run
from tests.router.upstream import Upstream, serving


def free_port() -> int:
    """A TCP port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def directory(run: Run) -> Iterator[Path]:
    """A router's directory, with a path that is short enough for a unix socket. Its router is ended with the test."""
    path = Path(tempfile.mkdtemp(prefix=f"{run.platforms}-", dir="/tmp"))
    yield path
    router = Router(PlatformSettings(), path)
    with router.lock():
        router.stop()
    shutil.rmtree(path)


@pytest.fixture
def settings() -> PlatformSettings:
    """Plain HTTP on a free port of loopback."""
    return PlatformSettings(router=RouterSettings(http_port=free_port()))


@pytest.fixture
def router(settings: PlatformSettings, directory: Path) -> Router:
    """A router that isn't running yet."""
    return Router(settings, directory)


@pytest.fixture
def base(settings: PlatformSettings) -> str:
    """The router's URL."""
    return f"http://127.0.0.1:{settings.router.http_port}"


@pytest.fixture
def upstream() -> Iterator[Callable[[str], Upstream]]:
    """Starts servers: `upstream("shop")`."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(serving(name))
