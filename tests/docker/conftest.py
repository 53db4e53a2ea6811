"""A platform of the test's own on the real engine, driven through the real command line."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import RUN_VARIABLE
from tests.docker.app import app
from tests.driver import Branchline, Load, Result, free_port
from tests.repositories import Repo

__all__ = ["Branchline", "Load", "Result", "free_port"]


@pytest.fixture
def branchline(platform_name: str, repository: Callable[..., Repo]) -> Iterator[Branchline]:
    """A platform that is destroyed at the test's end. (`repository` comes first for the git settings it makes.)"""
    state = Path(tempfile.mkdtemp(prefix="bl-"))
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BRANCHLINE_")}
    environment |= {
        RUN_VARIABLE: os.environ[RUN_VARIABLE],
        "BRANCHLINE_CONFIG": str(state / "platform.toml"),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    (state / "platform.toml").write_text(
        f'platform = "{platform_name}"\nstate_dir = "{state}"\n[router]\nhttp_port = {port}\n'
    )
    made = Branchline(platform_name, port, state, environment)
    try:
        yield made
    finally:
        made("destroy", "--all", cwd=state)
        made("router", "stop", cwd=state)
        shutil.rmtree(state)


@pytest.fixture
def shop(python_base: str, repository: Callable[..., Repo]) -> Repo:
    """A repository whose main answers 'main 1'."""
    return repository(app(python_base, "main 1"))
