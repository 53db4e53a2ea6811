"""The router process: one Caddy in the background that serves every environment of the platform on this machine.

Whoever needs it starts it, and any later command finds it again. Caddy inherits its pid file, locked; so the file is
locked exactly as long as Caddy lives, however it ends, and a stale pid can't be taken for it. The caller says which
routes there should be; what Caddy has loaded is asked of Caddy itself, so nothing about it can go stale either.

How the routes change without a failed request. Caddy starts a server with the new configuration beside the one with the
old, and ends that. Its listening sockets would be opened anew, and the kernel resets what waits in a socket that is
closed; so Caddy inherits them, and they stay open. And what has no request in flight is closed, be it that the next
request is on its way; so the old server goes on for a tenth of a second and ends each kept connection with an answer
that says so. Caddy does that only where the addresses change: hence two descriptors for each socket, used in turn.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from branchline.cancellation import Cancellation
from branchline.engines.docker.router import config, listening, program
from branchline.engines.docker.router.admin import Admin, NotRunningError, RefusedError, peer
from branchline.engines.docker.router.routes import Route
from branchline.errors import ConfigurationError, RouterError
from branchline.settings.platform import PlatformSettings

_LOCK_SECONDS = 60.0
_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.01
_DRAIN_POLL_SECONDS = 0.05

_LISTEN_PATH = f"/config/apps/http/servers/{config.ENVIRONMENTS}/listen"


class _Upstream(msgspec.Struct):
    """An upstream, as the admin API lists it."""

    address: str
    num_requests: int


class _LogLine(msgspec.Struct):
    """A line of Caddy's log."""

    ts: float
    msg: str


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


class Router:
    """The router of one platform on this machine. All that it writes is in `directory`."""

    def __init__(self, settings: PlatformSettings, directory: Path) -> None:
        self._settings = settings
        self._directory = directory.absolute()
        self._admin = Admin(config.socket_path(self._directory))
        self._pid_file = self._directory / "caddy.pid"
        self._output = self._directory / "caddy-output.log"
        self._sockets_file = self._directory / "sockets.json"

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

        The caller holds the lock. Repeatable: what is served already is not loaded again. Requests in flight go on, as
        do event streams and WebSockets; kept connections end with an answer that says so. Where the addresses to listen
        on have changed, the router is started anew, and everything ends.

        Raises:
            RouterError: it can't be started, doesn't answer, or refused; what it served before, it serves still.
            ConfigurationError: the settings ask for something that can't be.
        """
        self._check_settings()
        self._make_directory()
        ipv6 = listening.has_ipv6_loopback()
        wanted = config.wanted(self._settings, ipv6=ipv6)

        def rendered(descriptors: Mapping[str, int]) -> bytes:
            whole = config.render(routes, self._settings, self._directory, ipv6=ipv6, descriptors=descriptors)
            return msgspec.json.encode(whole)

        if self._serves(self._admin.timeout) and set(self._sockets()) == set(wanted):
            self._change(rendered)
        else:
            self._start(rendered, wanted)

    def _change(self, rendered: Callable[[Mapping[str, int]], bytes]) -> None:
        """Has the running Caddy serve the configuration, unless it does so already."""
        running = self._admin.get("/config/")
        pairs = self._sockets()
        used = {address: one if f'"fd/{one}"'.encode() in running else other for address, (one, other) in pairs.items()}
        if msgspec.json.decode(running) == msgspec.json.decode(rendered(used)):
            return
        if listening.connected(pairs):
            used = {address: sum(pair) - used[address] for address, pair in pairs.items()}
        self._admin.load(rendered(used))  # by the same descriptors, it takes no time: there is nobody to hand over

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

    def running(self) -> bool:
        """Whether a router serves: what most commands need of `status`, without starting a program to find it out.

        Raises:
            RouterError: it runs and doesn't answer.
        """
        try:
            self._admin.get(_LISTEN_PATH)
        except NotRunningError:
            return False
        return True

    def status(self) -> RouterStatus:
        """The router process, as it is now.

        Raises:
            RouterError: it runs and doesn't answer.
        """
        pid = peer(self._admin.path, self._admin.timeout)
        if pid is not None:
            with suppress(NotRunningError, FileNotFoundError):  # it ends just now
                return RouterStatus(
                    running=True,
                    socket=self._admin.path,
                    pid=pid,
                    version=self._version(pid),
                    addresses=tuple(self._sockets()),
                    since=datetime.fromtimestamp(self._pid_file.stat().st_mtime, UTC),
                )
        return RouterStatus(running=False, socket=self._admin.path)

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

    def _start(self, rendered: Callable[[Mapping[str, int]], bytes], wanted: Sequence[str]) -> None:
        """Starts Caddy. One that runs with other addresses is ended once the new ones are known to be free."""
        caddy = program.find_caddy()
        held = self._sockets() if self._alive() else {}
        if not held:
            self._end()  # one that runs on sockets which nobody knows would keep them
        start_file = self._directory / "start.json"
        with ExitStack() as opened:

            def listen(addresses: Iterable[str]) -> dict[str, socket.socket]:
                return {address: opened.enter_context(listening.listen(address)) for address in addresses}

            sockets = listen(address for address in wanted if address not in held)
            opened.callback(start_file.unlink, missing_ok=True)
            if held:
                start_file.write_bytes(rendered({}))
                if not program.takes(caddy, start_file):
                    raise RouterError(
                        f"the router refused its new settings: {self._last_error()}",
                        remedy="mend them in platform.toml",
                    )
            self._end()
            self._remove_files()
            sockets |= listen(address for address in wanted if address in held)
            pairs = {
                address: (one.fileno(), opened.enter_context(one.dup()).fileno()) for address, one in sockets.items()
            }
            try:
                try:
                    start_file.write_bytes(rendered({address: one for address, (one, _) in pairs.items()}))
                    self._sockets_file.write_bytes(msgspec.json.encode(pairs))
                    descriptors = [number for pair in pairs.values() for number in pair]
                    program.start(caddy, start_file, self._pid_file, self._output, descriptors)
                except (OSError, subprocess.CalledProcessError) as error:
                    why = error.strerror if isinstance(error, OSError) else "its process id can't be written down"
                    raise RouterError(
                        f"the router can't be started: {why}",
                        remedy=f"see that {self._directory} can be written to and its disk has room",
                    ) from error
                if not self._serves(_START_SECONDS):
                    raise RouterError(
                        f"the router ended while it started: {self._last_error()}",
                        remedy=f"see {self._directory / config.LOG_NAME} and {self._output}",
                    )
            except BaseException:
                self._end()
                self._remove_files()
                raise

    def _serves(self, timeout: float) -> bool:
        """Waits for the living Caddy, which may be just starting, to serve; returns whether it does, or has ended.

        Raises:
            RouterError: neither, in time.
        """
        admin = Admin(self._admin.path, timeout)
        end = time.monotonic() + _START_SECONDS
        while self._alive():
            # It refuses while it has no configuration, such as in the moment before it ends over a wrong one.
            with suppress(NotRunningError, RefusedError):
                admin.get(_LISTEN_PATH)
                return True
            if time.monotonic() > end:
                raise RouterError(
                    f"the router is not ready after {_START_SECONDS:g} seconds", remedy=f"see {self._output}"
                )
            time.sleep(_POLL_SECONDS)
        return False

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

    def _sockets(self) -> dict[str, tuple[int, int]]:
        """The addresses that the running router listens on, with Caddy's two descriptors of each socket."""
        try:
            return msgspec.json.decode(self._sockets_file.read_bytes(), type=dict[str, tuple[int, int]])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def _version(self, pid: int) -> str:
        """The version of the program that runs, even where a newer one has been installed since."""
        said = subprocess.run(
            [f"/proc/{pid}/exe", "version"], capture_output=True, text=True, check=False, timeout=self._admin.timeout
        )
        return said.stdout.partition(" ")[0].strip().removeprefix("v")

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
        for path in (self._admin.path, self._pid_file, self._sockets_file):
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
