"""Commands with 10, 100 and 500 environments: what they take should not grow with them."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measuring import rounds, run, shown, table
from bench.sandbox import Sandbox, sandbox
from branchline import labels, naming

_SIZES = (10, 100, 500)
_THREADS = 8
_OBSERVED = Path(__file__).with_name("observed.py")
_COMMANDS = ("list", "deploy, unchanged", "deploy, new branch", "destroy")
_ROUTE = "route change"


@dataclass
class _Taken:
    """What one command took with so many environments, each time it was run."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """MiB."""
    calls: list[int] = field(default_factory=list)


def measure() -> None:
    """The environments beside those that are deployed are real, running containers with the labels of one.

    They have no network: an engine gets slow with hundreds of them, which is its own affair and not measured here.
    """
    with sandbox() as here:
        first = here.repo.head
        here.deploy("--branch", "main")
        taken: dict[tuple[str, int], _Taken] = {}
        try:
            present = 1
            for size in _SIZES:
                begun = time.monotonic()
                _fill(here, range(present, size))
                print(f"  {size} environments: {size - present} more in {time.monotonic() - begun:.0f} s", flush=True)
                present = size
                _observe(here, size, first, taken)
        finally:
            _empty(here)
        _tell(taken)


def _observe(here: Sandbox, size: int, first: str, taken: dict[tuple[str, int], _Taken]) -> None:
    def take(command: str, *arguments: str) -> str:
        return _take(here, taken.setdefault((command, size), _Taken()), arguments)

    for number in rounds(5, 25):
        branch = f"new-{size}-{number}"
        here.commit(branch)
        here.repo.branch(branch)
        take("list", "list", "--json")
        take("deploy, unchanged", "deploy", "--json", "--branch", "main", "--commit", first)
        deployed = json.loads(take("deploy, new branch", "deploy", "--json", "--branch", branch))
        taken.setdefault((_ROUTE, size), _Taken()).seconds.append(deployed["seconds"]["route"])
        take("destroy", "destroy", branch)


def _take(here: Sandbox, into: _Taken, arguments: tuple[str, ...]) -> str:
    file = here.directory / "observed.json"
    done = run([sys.executable, _OBSERVED, file, *arguments], cwd=here.repo.path, env=here.environment)
    observed: dict[str, Any] = json.loads(file.read_text())
    into.seconds.append(done.seconds)
    into.processor.append(done.processor)
    into.memory.append(observed["memory"] / 2**20)
    into.calls.append(observed["calls"])
    return done.out


def _tell(taken: dict[tuple[str, int], _Taken]) -> None:
    print(
        "  MiB: the process's peak. Calls to the engine: the fewest, as waiting until healthy takes a varying number."
    )
    rows: list[tuple[str, ...]] = []
    for command in (*_COMMANDS, _ROUTE):
        for size in _SIZES:
            each = taken[command, size]
            rows.append(
                (
                    f"{command}, {size}",
                    shown(each.seconds, "{:.3f}"),
                    shown(each.processor, "{:.2f}") if each.processor else "-",
                    shown(each.memory, "{:.0f}") if each.memory else "-",
                    str(min(each.calls)) if each.calls else "-",
                )
            )
    table(("", "seconds", "processor seconds", "MiB", "calls"), rows)
    few, many = _SIZES[0], _SIZES[-1]
    for command in _COMMANDS:
        times = min(taken[command, many].seconds) / min(taken[command, few].seconds)
        more = min(taken[command, many].calls) - min(taken[command, few].calls)
        print(f"  {command}: at best {times:.2f} times the time, and {more:+} calls, with {many} instead of {few}")
    print()


def _fill(here: Sandbox, numbers: range) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda number: _start(here, number), numbers))


def _start(here: Sandbox, number: int) -> None:
    api = here.engine.api
    branch = f"feature/{number}"
    slug, now = naming.slug(branch), datetime.now(UTC).isoformat(timespec="seconds")
    created = api.create_container(
        image=here.base,
        name=f"{naming.resource(here.platform, 'shop', slug)}.1.live",
        command=["sleep", "3600"],
        host_config=api.create_host_config(network_mode="none"),
        labels={
            labels.PLATFORM: here.platform,
            labels.PROJECT: "shop",
            labels.BRANCH: branch,
            labels.SLUG: slug,
            labels.HOST: f"{slug}--shop.localhost",
            labels.PORT: "8000",
            labels.COMMIT: here.repo.head,
            labels.IMAGE: here.base,
            labels.RELEASE: "1",
            labels.CREATED: now,
            labels.RELEASED: now,
        },
    )
    api.start(created["Id"])


def _empty(here: Sandbox) -> None:
    """Removes them here, since `branchline destroy` takes them one after the other."""
    api = here.engine.api
    wanted = {"label": [f"{labels.PLATFORM}={here.platform}"], "ancestor": here.base}
    containers = [found["Id"] for found in api.containers(all=True, filters=wanted)]
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda container: api.remove_container(container, force=True), containers))
