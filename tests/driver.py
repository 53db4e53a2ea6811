"""The real command line on a platform of a test's own, and a visitor who never stops asking."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.repositories import Repo


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Load:
    """What a visitor who never stops asking saw."""

    answers: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.answers.values())


@dataclass(frozen=True)
class Branchline:
    """The command line on a platform of its own."""

    platform: str
    port: int
    state: Path
    environment: dict[str, str]
    router: str = ""
    """The URL by which hosts are asked for, by their Host header; empty for the router on `port`."""

    def start(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts a command and doesn't wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "branchline", *arguments],
            cwd=cwd,
            env=self.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def try_(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 120) -> Result:
        """Runs a command to its end, whatever that is."""
        process = self.start(*arguments, cwd=cwd, env=env)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert not re.search("^Traceback|branchline itself failed", err, re.MULTILINE), err
        return Result(process.returncode, out, err)

    def __call__(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 120) -> Result:
        """Runs a command that has to succeed."""
        result = self.try_(*arguments, cwd=cwd, env=env, timeout=timeout)
        assert result.code == 0, f"{arguments}: exit code {result.code}\n{result.out}\n{result.err}"
        return result

    def deploy(self, repo: Repo, *arguments: str, env: dict[str, str] | None = None) -> Any:
        """Deploys with --json; returns what it printed."""
        return self("deploy", "--json", *arguments, cwd=repo.path, env=env).json

    def list(self, cwd: Path) -> Any:
        return self("list", "--json", "--all", cwd=cwd).json

    @property
    def _router(self) -> str:
        return self.router or f"http://127.0.0.1:{self.port}"

    def get(self, url: str, path: str = "/", timeout: float = 30, **options: Any) -> httpx.Response:
        """Asks the router, by the Host header: Python's resolver doesn't know *.localhost."""
        host = httpx.URL(url).host
        with httpx.Client(timeout=timeout) as client:
            return client.get(f"{self._router}{path}", headers={"Host": host}, **options)

    @contextmanager
    def load(self, url: str, path: str = "/", threads: int = 4) -> Iterator[Load]:
        """Asks without a pause from several threads while the block runs."""
        host, load, stop, lock = httpx.URL(url).host, Load(), threading.Event(), threading.Lock()

        def get(client: httpx.Client) -> httpx.Response:
            """As browsers do, and RFC 9112 (section 9.3.1) has it: a server may close an idle connection at any time,
            so a request on a reused one that gets no answer at all is sent again."""
            target, headers = f"{self._router}{path}", {"Host": host}
            try:
                return client.get(target, headers=headers)
            except httpx.RemoteProtocolError:
                return client.get(target, headers=headers)

        def ask() -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    begun = time.monotonic()
                    try:
                        answer = get(client)
                        problem = "" if answer.status_code == 200 else f"status {answer.status_code}"
                    except httpx.HTTPError as error:
                        answer, problem = None, repr(error)
                    with lock:
                        load.seconds.append(time.monotonic() - begun)
                        if problem or answer is None:
                            load.failures.append(problem)
                        else:
                            load.answers[answer.text] = load.answers.get(answer.text, 0) + 1

        workers = [threading.Thread(target=ask) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield load
        finally:
            stop.set()
            for worker in workers:
                worker.join()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
