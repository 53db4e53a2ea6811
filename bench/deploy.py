"""A branch's first deploy, whole process and all, against the shortest way to the same by hand."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors

from bench.load import wait_until_answering
from bench.measuring import BenchError, ratios, rounds, run, shown, table, target
from bench.sandbox import Sandbox, sandbox

_FILES = 300
_PHASES = ("build", "start", "healthy", "route", "retire")


@dataclass(frozen=True)
class Bare:
    """`docker build`, `docker run`, and asking until 200 comes back, with the seconds of each."""

    build: float
    run: float
    answer: float

    @property
    def whole(self) -> float:
        return self.build + self.run + self.answer


@dataclass(frozen=True)
class Ours:
    """`branchline deploy` from its start to its end, and what it says of its parts."""

    whole: float
    seconds: Mapping[str, float]

    @property
    def before_and_after(self) -> float:
        """Starting Python, reading the repository and the settings, connecting, and ending."""
        return self.whole - self.seconds["total"] - self.seconds.get("retire", 0.0)


def measure() -> None:
    """With BuildKit and with the classic builder, each against the same builder by hand."""
    with sandbox() as here:
        here.commit("0", {f"src/{number // 20}/module-{number}.txt": f"{number}\n" * 300 for number in range(_FILES)})
        here.deploy("--branch", "main")  # starts the router, and fills the caches
        for builder in ("buildkit", "classic"):
            command = _docker(here, builder)
            if command is None:
                print(f"  {builder}: no docker command here builds with it\n")
            else:
                _compare(here, builder, command)


def _compare(here: Sandbox, builder: str, command: tuple[str, dict[str, str]]) -> None:
    ours: list[Ours] = []
    bare: list[Bare] = []
    for number in rounds(8, 45):
        here.commit(f"{builder}-{number}")
        sides = [lambda: ours.append(_ours(here, builder, number)), lambda: bare.append(_bare(here, *command))]
        for side in sides if number % 2 else reversed(sides):
            side()
    ours, bare = ours[1:] or ours, bare[1:] or bare  # the first round fills the builder's cache
    whole, by_hand = [each.whole for each in ours], [each.whole for each in bare]
    over = [mine - other for mine, other in zip(whole, by_hand, strict=True)]
    times = ratios(whole, by_hand)
    print(f"  {builder}: {len(ours)} rounds, a commit of {_FILES + 3} files each")
    table(
        ("seconds", "branchline deploy", "by hand"),
        [
            ("whole", shown(whole), shown(by_hand)),
            ("  build", _part(ours, "build"), shown([each.build for each in bare])),
            ("  start / docker run", _part(ours, "start"), shown([each.run for each in bare])),
            ("  healthy / first 200", _part(ours, "healthy"), shown([each.answer for each in bare], "{:.3f}")),
            ("  route", _part(ours, "route"), "-"),
            ("  between the parts", shown([_between(each) for each in ours]), "-"),
            ("  after the URL serves", shown([each.seconds.get("retire", 0.0) for each in ours]), "-"),
            ("  process, git, settings", shown([each.before_and_after for each in ours]), "-"),
        ],
    )
    target(f"{builder}: times by hand ({min(times):.2f}-{max(times):.2f})", statistics.median(times), at_most=1.1)
    target(f"{builder}: seconds over by hand ({min(over):.2f}-{max(over):.2f})", statistics.median(over), at_most=0.5)
    print()


def _part(ours: list[Ours], name: str) -> str:
    return shown([each.seconds[name] for each in ours])


def _between(ours: Ours) -> float:
    """The lease, the records and the looks at what there is."""
    return ours.seconds["total"] - sum(ours.seconds.get(name, 0.0) for name in _PHASES if name != "retire")


def _ours(here: Sandbox, builder: str, number: int) -> Ours:
    branch = f"{builder}-{number}"
    here.repo.branch(branch)
    done, answer = here.deploy("--branch", branch, env={"BRANCHLINE_DOCKER_BUILDER": builder})
    wait_until_answering(f"127.0.0.1:{here.port}", answer["host"], f"release {branch}")
    here.branchline("destroy", branch)
    return Ours(done.seconds, answer["seconds"])


def _bare(here: Sandbox, program: str, environment: dict[str, str]) -> Bare:
    """What Branchline would have to be as fast as: no network of its own, no limits, no route, no record."""
    name = here.platform
    try:
        begun = time.monotonic()
        run([program, "build", "--quiet", "--tag", f"{name}/by-hand", "."], cwd=here.repo.path, env=environment)
        built = time.monotonic()
        run([program, "run", "--detach", "--name", name, f"{name}/by-hand"], env=environment)
        started = time.monotonic()
        (network,) = here.engine.api.inspect_container(name)["NetworkSettings"]["Networks"].values()
        wait_until_answering(f"{network['IPAddress']}:8000", "localhost")
        return Bare(built - begun, started - built, time.monotonic() - started)
    finally:
        with suppress(docker.errors.NotFound):
            here.engine.api.remove_container(name, force=True)
        with suppress(docker.errors.ImageNotFound):
            here.engine.api.remove_image(f"{name}/by-hand", force=True)


def _docker(here: Sandbox, builder: str) -> tuple[str, dict[str, str]] | None:
    """A docker command that builds with the builder, and its environment. Newer ones need a plug-in for BuildKit."""
    variable: dict[str, Any] = {"DOCKER_BUILDKIT": "1" if builder == "buildkit" else "0"}
    environment = {**os.environ, **variable}
    for program in ("/usr/bin/docker", shutil.which("docker") or ""):
        if not Path(program).is_file():
            continue
        try:
            run([program, "build", "--quiet", "--tag", f"{here.platform}/by-hand", "."], cwd=here.repo.path, env=environment)
        except BenchError:
            continue
        return program, environment
    return None
