"""What `list` loads when there is something to list: the unit tests have no engine to ask."""

from __future__ import annotations

from tests.docker.conftest import Branchline
from tests.repositories import Repo


def test_list_loads_nothing_for_a_terminal_and_nothing_that_only_deploys_need(
    branchline: Branchline, shop: Repo
) -> None:
    branchline.deploy(shop)

    result = branchline("list", cwd=shop.path, env={"PYTHONPROFILEIMPORTTIME": "1"})

    assert "main" in result.out
    loaded = {line.rpartition("|")[2].strip() for line in result.err.splitlines() if line.startswith("import time:")}
    assert "branchline.engines.docker.client" in loaded
    acting = {"health", "firewall", "network", "terminal", "checks", "build_log", "router.process", "router.config"}
    assert loaded & {f"branchline.engines.docker.{name}" for name in acting} == set()
    assert loaded & {"rich", "rich.table", "difflib", "branchline.lifecycle", "branchline.cli.progress"} == set()
