"""The command line in a surrounding without an engine: what it refuses there, it refuses before asking one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import Repo

NOWHERE = "unix:///nonexistent/docker.sock"
NO_ENGINE = f"no Docker Engine answers at {NOWHERE}"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error's line; there must be no more than one, and nothing of ours must have failed."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "branchline itself failed" not in self.err
        return lines[0].removeprefix("error: ")


@dataclass(frozen=True)
class Command:
    """The command line, with no engine and a state directory that must stay empty."""

    state: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, **options: Any) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "branchline", *arguments],
            cwd=cwd,
            env=self.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=60,
            check=False,
            **options,
        )
        assert not any(line.startswith("Traceback") for line in done.stderr.splitlines()), done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def refuses(
        self, *arguments: str, cwd: Path, error: str, remedy: str = "", code: int = 2, env: dict[str, str] | None = None
    ) -> None:
        """Asserts how the command ends, which it tells people on standard error, and programs on standard output."""
        result = self(*arguments, "--json", cwd=cwd, env=env)
        assert error in result.err
        assert result.error
        assert remedy in result.err
        document = json.loads(result.out)
        assert set(document) == {"error", "remedy", "details", "exit_code"}
        assert error in document["error"]
        assert remedy in document["remedy"]
        assert (result.code, document["exit_code"]) == (code, code)


@pytest.fixture
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    state = tmp_path_factory.mktemp("state")
    settings = tmp_path_factory.mktemp("settings") / "platform.toml"
    settings.write_text(f'state_dir = "{state}"\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "DOCKER_"))}
    return Command(
        state,
        kept | {"BRANCHLINE_CONFIG": str(settings), "DOCKER_HOST": NOWHERE, "NO_COLOR": "1", "COLUMNS": "1000"},
    )


@pytest.fixture
def shop(repository: Callable[..., Repo]) -> Repo:
    return repository({"Dockerfile": "FROM scratch\nEXPOSE 80\n"})
