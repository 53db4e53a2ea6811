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

import docker.errors

from bench.load import wait_until_answering
from bench.measuring import BenchError, ratios, rounds, run, shown, table, target
from bench.sandbox import Sandbox, sandbox
from tests.images import import_python

_FILES = 300
_SITE = "a site of 300 files, with nothing to build"
_APPLICATION = "a Python application, whose build byte-compiles some libraries"
_SERVER = """\
import asyncio, http.server, json, logging, socketserver, sqlite3, unittest, urllib.request, xml.dom

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open("/app/release").read().encode())

http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


@dataclass(frozen=True)
class _Bare:
    """`docker build`, `docker run`, and asking until 200 comes back, with the seconds of each."""

    build: float
    run: float
    answer: float

    @property
    def whole(self) -> float:
        return self.build + self.run + self.answer


@dataclass(frozen=True)
class _Ours:
    """`branchline deploy` from its start to its end, and what it says of its parts."""

    whole: float
    seconds: Mapping[str, float]

    @property
    def around(self) -> float:
        """Starting Python, reading the repository and the settings, connecting; answering, and ending."""
        return self.whole - self.seconds["total"]

    @property
    def between(self) -> float:
        """The lease, the records and the looks at what there is."""
        return self.seconds["total"] - sum(self.seconds[part] for part in ("build", "start", "healthy", "route"))


@dataclass(frozen=True)
class _Docker:
    """A docker command."""

    program: str
    environment: Mapping[str, str]

    def run(self, *arguments: str, cwd: Path | None = None) -> None:
        run([self.program, *arguments], cwd=cwd, env=self.environment)


def measure() -> None:
    """With BuildKit and with the classic builder, each against the same builder by hand."""
    with sandbox() as here:
        files = {f"src/{number // 20}/module-{number}.txt": f"{number}\n" * 300 for number in range(_FILES)}
        here.commit("0", files)
        here.deploy("--branch", "main")  # starts the router
        for builder in ("buildkit", "classic"):
            _compare(here, _SITE, builder, 8)
        _write_application(here)
        _compare(here, _APPLICATION, "buildkit", 6)


def _compare(here: Sandbox, what: str, builder: str, count: int) -> None:
    command = _docker(here, builder)
    if command is None:
        print(f"  {builder}: no docker command here builds with it\n")
        return
    ours: list[_Ours] = []
    bare: list[_Bare] = []
    for number in rounds(count, 35):
        release = f"{builder}-{count}-{number}"
        here.commit(release, {"release": f"release {release}\n"})
        if number % 2:
            bare.append(_by_hand(here, command))
            ours.append(_deployed(here, release, builder))
        else:
            ours.append(_deployed(here, release, builder))
            bare.append(_by_hand(here, command))
    _tell(f"{what}; {builder}", ours, bare)


def _tell(what: str, ours: list[_Ours], bare: list[_Bare]) -> None:
    whole, by_hand = [each.whole for each in ours], [each.whole for each in bare]
    over = [mine - other for mine, other in zip(whole, by_hand, strict=True)]
    times = ratios(whole, by_hand)
    print(f"  {what}; {len(ours)} commits")
    table(
        ("seconds", "branchline deploy", "by hand"),
        [
            ("whole", shown(whole), shown(by_hand)),
            ("  build", _part(ours, "build"), shown([each.build for each in bare])),
            ("  start / docker run", _part(ours, "start"), shown([each.run for each in bare])),
            ("  healthy / first 200", _part(ours, "healthy"), shown([each.answer for each in bare])),
            ("  route", _part(ours, "route"), "-"),
            ("  lease, records, looks", shown([each.between for each in ours]), "-"),
            ("  process, git, settings", shown([each.around for each in ours]), "-"),
        ],
    )
    target(f"times by hand ({min(times):.2f}-{max(times):.2f})", statistics.median(times), at_most=1.1)
    target(f"seconds over by hand ({min(over):.2f}-{max(over):.2f})", statistics.median(over), at_most=0.5)
    print()


def _part(ours: list[_Ours], name: str) -> str:
    return shown([each.seconds[name] for each in ours])


def _deployed(here: Sandbox, branch: str, builder: str) -> _Ours:
    """From the command's start to its end, when the URL serves the branch's own release."""
    here.repo.branch(branch)
    done, answer = here.deploy("--branch", branch, env={"BRANCHLINE_DOCKER_BUILDER": builder})
    wait_until_answering(f"127.0.0.1:{here.port}", answer["host"], f"release {branch}")
    here.branchline("destroy", branch)
    return _Ours(done.seconds, answer["seconds"])


def _by_hand(here: Sandbox, command: _Docker) -> _Bare:
    """The least that there is to do: no network of its own, no limits, no route, no record."""
    name = here.platform
    try:
        begun = time.monotonic()
        command.run("build", "--quiet", "--tag", f"{name}/by-hand", ".", cwd=here.repo.path)
        built = time.monotonic()
        command.run("run", "--detach", "--name", name, f"{name}/by-hand")
        started = time.monotonic()
        (network,) = here.engine.api.inspect_container(name)["NetworkSettings"]["Networks"].values()
        wait_until_answering(f"{network['IPAddress']}:8000", "localhost")
        return _Bare(built - begun, started - built, time.monotonic() - started)
    finally:
        with suppress(docker.errors.NotFound):
            here.engine.api.remove_container(name, force=True)
        with suppress(docker.errors.ImageNotFound):
            here.engine.api.remove_image(f"{name}/by-hand", force=True)


def _docker(here: Sandbox, builder: str) -> _Docker | None:
    """A docker command that builds with the builder; newer ones need a plug-in for BuildKit. Fills the cache, too."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1" if builder == "buildkit" else "0"}
    for program in ("/usr/bin/docker", shutil.which("docker") or ""):
        command = _Docker(program, environment)
        with suppress(BenchError, FileNotFoundError):
            _by_hand(here, command)
            return command
    return None


def _write_application(here: Sandbox) -> None:
    """An application whose build and start take as long as a small one's in earnest."""
    image = f"{here.platform}/python:latest"
    import_python(here.engine, image)
    dockerfile = (
        f"FROM {image}\n"
        "COPY . /app\n"
        "RUN for library in asyncio email http json unittest xml; do"
        ' cp -r "$(python3 -c "import sysconfig; print(sysconfig.get_path(\'stdlib\'))")/$library" /app; done'
        " && python3 -m compileall -q -f /app\n"
        "EXPOSE 8000\n"
        'CMD ["python3", "/app/server.py"]\n'
    )
    here.repo.commit("An application", {"Dockerfile": dockerfile, "server.py": _SERVER, "release": "0"})
