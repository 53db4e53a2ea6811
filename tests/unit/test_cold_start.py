"""Commands load what they need and no more: each import that isn't needed is time that every user waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repositories import Repo

_LOADED = """\
import sys
from branchline.cli.main import main
try:
    main()
finally:
    print("LOADED", *sys.modules, file=sys.stderr)
"""
_VENDORS = {"docker", "requests", "urllib3", "rich", "dotenv"}
_HTTP = {"http.client", "urllib.request", "ssl", "email", "importlib.metadata"}


def loaded(*arguments: str, cwd: Path, code: int = 0, **environment: str) -> set[str]:
    """The modules that `branchline ARGUMENTS` has loaded when it ends."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "DOCKER_"))}
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments],
        cwd=cwd,
        env=kept | {"BRANCHLINE_STATE_DIR": str(cwd / "state")} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("LOADED "))
    return set(line.split()[1:])


def within(modules: set[str], names: set[str]) -> set[str]:
    """Those of the modules that are, or are below, one of the names."""
    return {module for module in modules if any(module == name or module.startswith(f"{name}.") for name in names)}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.create(tmp_path / "shop")
    repo.commit("The shop", {"Dockerfile": "FROM scratch\nEXPOSE 8000\n"})
    return repo


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_load_nothing_but_the_command_line_itself(repo: Repo, option: str) -> None:
    modules = loaded(option, cwd=repo.path)

    assert within(modules, _VENDORS | _HTTP | {"msgspec", "tomllib", "tarfile"}) == set()
    rooms = ("settings", "source", "engines", "ports", "platform", "lifecycle", "events", "environment")
    assert within(modules, {f"branchline.{room}" for room in rooms}) == set()


@pytest.mark.parametrize(
    "command",
    ["init", "deploy", "list", "show", "open", "logs", "exec", "rollback", "sleep", "wake", "destroy", "reap", "doctor",
     "router", "schema"],
)  # fmt: skip
def test_a_commands_help_loads_no_vendor_and_no_engine(repo: Repo, command: str) -> None:
    modules = loaded(command, "--help", cwd=repo.path)

    assert within(modules, _VENDORS | _HTTP | {"branchline.engines"}) == set()


def test_the_schema_is_printed_without_a_vendor(repo: Repo) -> None:
    assert (
        within(loaded("schema", cwd=repo.path), _VENDORS | _HTTP | {"branchline.engines", "branchline.source"}) == set()
    )


def test_init_needs_no_engine(repo: Repo) -> None:
    assert within(loaded("init", cwd=repo.path), _VENDORS | _HTTP | {"branchline.engines"}) == set()


def test_what_is_wrong_with_the_configuration_is_found_before_anything_is_loaded_for_the_engine(repo: Repo) -> None:
    repo.commit("A mistake", {"branchline.toml": "prot = 8000\n"})

    modules = loaded("deploy", cwd=repo.path, code=2)

    assert within(modules, _VENDORS | {"branchline.engines"}) == set()


def test_list_loads_the_sdk_and_what_reads_its_answers(repo: Repo) -> None:
    """The engine's address leads nowhere: all that asking it needs is loaded before that shows."""
    nowhere = f"unix://{repo.path}/nowhere.sock"

    modules = loaded("list", cwd=repo.path, code=1, DOCKER_HOST=nowhere)

    assert "docker" in modules
    acting = {
        "health",
        "firewall",
        "network",
        "terminal",
        "checks",
        "sockets",
        "build_log",
        "router.process",
        "router.admin",
    }
    assert within(modules, {f"branchline.engines.docker.{name}" for name in acting}) == set()
    assert within(modules, {"rich", "dotenv", "difflib", "branchline.cli.progress", "branchline.lifecycle"}) == set()


def test_list_of_all_projects_looks_at_no_repository(repo: Repo) -> None:
    modules = loaded("list", "--all", cwd=repo.path, code=1, DOCKER_HOST=f"unix://{repo.path}/nowhere.sock")

    assert within(modules, {"branchline.source"}) == set()


def test_the_interpreter_ends_without_a_search_for_garbage_in_all_that_was_loaded(repo: Repo) -> None:
    """It would take a tenth of the time of `branchline list`, to free what ends with the process anyway."""
    watch = "import atexit, gc; atexit.register(lambda: print('FROZEN', gc.get_freeze_count() > 1000))\n"
    done = subprocess.run(
        [sys.executable, "-c", watch + _LOADED, "--version"],
        cwd=repo.path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "FROZEN True" in done.stdout
