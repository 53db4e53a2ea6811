"""Sees that a Docker Engine answers while a make target needs one.

    engine.py run -- COMMAND...   run a command, which may count on an engine
    engine.py ensure              as long as this checkout's demo is up
    engine.py release             the demo is down

An engine that answers already is the user's own and is never stopped, and neither is one that systemd looks after.
Where none answers, root gets a dockerd in the background. It ends with the last command or demo that counts on it, on
whichever checkout, unless somebody else's containers run in it by then.

DOCKER_HOST and the docker context say where to look; DOCKERD_OPTIONS is added to the dockerd that this starts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import docker
import docker.errors
from docker.context import ContextAPI

CHECKOUT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
STOP_SECONDS = 60  # dockerd gives containers 10 s to stop, and more the more there are
COMMANDS = ("run", "ensure", "release")


class NoEngineError(Exception):
    """No engine answers, and none could be started; says why and what to do."""


def refusal() -> str:
    """Why no engine can be used where the user means it to be, or nothing where one answers."""
    try:
        with closing(docker.from_env(timeout=10)) as client:
            client.ping()
    except docker.errors.DockerException as error:
        return str(error)
    return ""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class OwnEngine:
    """The dockerd that this script starts, with the files that tell every checkout about it."""

    def __init__(self) -> None:
        context = ContextAPI.kwargs_from_context()
        self.address = os.environ.get("DOCKER_HOST") or str(context.get("base_url", "unix:///var/run/docker.sock"))
        key = hashlib.sha256(self.address.encode()).hexdigest()[:8]
        self.directory = Path("/run/branchline-engine") / key
        self.pid_file = self.directory / "dockerd.pid"
        self.log = self.directory / "dockerd.log"
        self.demo = self.directory / f"demo-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:8]}"

    @property
    def pid(self) -> int | None:
        """The process, where we started one and it still runs."""
        try:
            pid = int(self.pid_file.read_text())
            return pid if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd" else None
        except (OSError, ValueError):
            return None

    @contextmanager
    def lock(self, name: str, kind: int) -> Iterator[BinaryIO]:
        """Holds a lock that ends with this process, however it ends."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / name).open("wb") as file:
            fcntl.flock(file, kind)
            yield file

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within the block, the engine runs; afterwards it is stopped if nobody counts on it any more."""
        with self.lock("users.lock", fcntl.LOCK_SH):
            with self.lock("start.lock", fcntl.LOCK_EX):
                if refusal():
                    self.start()
            yield
        self.stop_unless_used()

    def start(self) -> None:
        """Starts dockerd in the background and waits until it answers."""
        if not self.address.startswith("unix://"):
            raise NoEngineError(f"No Docker Engine answers at {self.address}: {refusal()}")
        if shutil.which("dockerd") is None:
            subprocess.run([CHECKOUT / "scripts" / "packages.sh", "engine"], check=True)
        if Path("/run/systemd/system").is_dir():
            subprocess.run(["systemctl", "start", "docker"], check=True)
            if not wait_until(lambda: not refusal(), START_SECONDS):
                raise NoEngineError(f"systemd's docker.service doesn't answer: {refusal()}")
            return
        self.pid_file.unlink(missing_ok=True)
        options = shlex.split(os.environ.get("DOCKERD_OPTIONS", ""))
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                ["dockerd", "--host", self.address, "--pidfile", self.pid_file, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        if wait_until(lambda: process.poll() is not None or not refusal(), START_SECONDS) and process.poll() is None:
            print(f"Started a Docker Engine (process {process.pid}, log in {self.log})", flush=True)
            return
        process.terminate()
        process.wait(STOP_SECONDS)
        last_lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise NoEngineError(f"dockerd did not start. Its last lines, from {self.log}:\n{last_lines}")

    def stop_unless_used(self) -> None:
        """Stops the engine if we started it, and no command, demo or container counts on it."""
        try:
            with self.lock("users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                if self.pid is not None and not self.has_demo() and not self.has_containers():
                    self.stop(self.pid)
        except BlockingIOError:
            return

    def has_demo(self) -> bool:
        """Whether a checkout that still exists has its demo up."""
        return any(Path(file.read_text()).is_dir() for file in self.directory.glob("demo-*"))

    def has_containers(self) -> bool:
        """Whether containers run in it, which then are somebody's who found the engine running."""
        with closing(docker.from_env()) as client:
            running = len(client.containers.list(sparse=True))
        if running:
            print(f"Leaving the Docker Engine up (process {self.pid}): {running} containers run in it")
        return running > 0

    def stop(self, pid: int) -> None:
        """Ends dockerd and the containerd that it started."""
        os.kill(pid, signal.SIGTERM)
        if not wait_until(lambda: self.pid is None, STOP_SECONDS):
            raise NoEngineError(f"dockerd (process {pid}) doesn't stop; see {self.log}")
        print("Stopped the Docker Engine that had been started for this")
        for file in self.directory.iterdir():
            if file.suffix != ".lock":
                file.unlink()


@contextmanager
def engine() -> Iterator[OwnEngine | None]:
    """Within the block, an engine answers; gives the one that this script started, if it is that one."""
    own = OwnEngine()
    reason = refusal()
    if not reason and own.pid is None:
        yield None
    elif os.geteuid() == 0:
        with own.used():
            yield None if own.pid is None else own
    elif reason:
        raise NoEngineError(
            f"No Docker Engine can be used at {own.address}: {reason}\n"
            "Start one (sudo systemctl start docker), add your user to the group 'docker', or point DOCKER_HOST to "
            "another. As root, one is started by itself."
        )
    else:
        yield None


def run(command: list[str]) -> int:
    """Runs the command and returns its exit code; Ctrl-C and SIGTERM are the command's to act on."""
    signal.signal(signal.SIGINT, lambda *_: None)
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    return code if code >= 0 else 128 - code


def main(arguments: list[str]) -> int:
    match arguments:
        case ["run", "--", *command] if command:
            with engine():
                return run(command)
        case ["ensure"]:
            with engine() as own:
                if own:
                    own.demo.write_bytes(bytes(CHECKOUT))
            return 0
        case ["release"]:
            own = OwnEngine()
            with suppress(PermissionError):  # not root: then nothing of it is ours
                own.demo.unlink(missing_ok=True)
            if own.pid is not None and os.geteuid() == 0:
                own.stop_unless_used()
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (NoEngineError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}")
