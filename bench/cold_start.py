"""How long commands take that do next to nothing: the price of starting up."""

from __future__ import annotations

import statistics
import sys

from bench.measuring import Run, ratios, rounds, run, shown, table, target
from bench.sandbox import BRANCHLINE, Sandbox, sandbox

_BARE = "python -c pass"
_SDK = 'python -c "import docker; docker.from_env().containers.list()"'
_ENVIRONMENTS = 3


def measure() -> None:
    """Against Python itself, and against the shortest program that asks the engine the same through the same SDK."""
    with sandbox() as here:
        for number in range(_ENVIRONMENTS):
            here.repo.branch(f"feature-{number}")
            here.deploy("--branch", f"feature-{number}")
        _compare(here)


def _compare(here: Sandbox) -> None:
    commands = {
        _BARE: [sys.executable, "-c", "pass"],
        "branchline --version": [BRANCHLINE, "--version"],
        "branchline --help": [BRANCHLINE, "--help"],
        _SDK: [sys.executable, "-c", "import docker; docker.from_env().containers.list()"],
        "branchline list (in a repository)": [BRANCHLINE, "list"],
        "branchline list --all": [BRANCHLINE, "list", "--all"],
    }
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for command in commands.values():  # once unmeasured: compiles modules, fills the page cache
        run(command, cwd=here.repo.path, env=here.environment)
    for _ in rounds(15, 45):
        for name, command in commands.items():
            runs[name].append(run(command, cwd=here.repo.path, env=here.environment))
    seconds = {name: [done.seconds for done in listed] for name, listed in runs.items()}
    running = len(here.engine.api.containers())
    print(f"  {len(runs[_BARE])} rounds; {_ENVIRONMENTS} environments; {running} containers run on the engine")
    table(
        ("command", "seconds", "processor seconds"),
        [
            (
                name,
                shown(seconds[name], "{:.3f}"),
                shown([done.processor for done in listed], "{:.3f}"),
            )
            for name, listed in runs.items()
        ],
    )
    for name in ("branchline --version", "branchline --help"):
        over = [mine - bare for mine, bare in zip(seconds[name], seconds[_BARE], strict=True)]
        target(f"{name}, seconds over {_BARE}", statistics.median(over), at_most=0.3)
    for name in ("branchline list (in a repository)", "branchline list --all"):
        times = ratios(seconds[name], seconds[_SDK])
        what = f"{name}, times the SDK's own list ({min(times):.2f}-{max(times):.2f})"
        target(what, statistics.median(times), at_most=1.3)
