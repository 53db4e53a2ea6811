"""Connects this process's standard streams to a command that runs in a container."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import struct
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import ClassVar

from branchline.engines.docker.client import Client
from branchline.errors import BranchlineError, EngineError

_CHUNK = 1 << 16
_POLL = 0.02
_CONTAINER_FOLLOWS = 2.0
"""Seconds in which a killed container, whose command was killed with it, is known to have ended."""
_NOT_STARTED = b"OCI runtime exec failed: "
"""How the engine tells, in place of the output, that it can't start a command."""
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class CommandNotFoundError(EngineError):
    """The container has no such program. The exit codes of both errors are the shell's (POSIX, XCU 2.8.2)."""

    exit_code: ClassVar[int] = 127


class CommandRefusedError(EngineError):
    """What was named is there, but can't be run."""

    exit_code: ClassVar[int] = 126


class ContainerEndedError(EngineError):
    """The container was stopped or removed while the command ran in it."""

    exit_code: ClassVar[int] = 128 + signal.SIGKILL


def run_attached(client: Client, container: str, command: list[str], *, terminal: bool) -> int:
    """Runs the command with our input, output and errors; returns its exit code.

    With `terminal` it gets a terminal of our size that follows ours, so that shells and editors work, and every key,
    Ctrl-C among them, is its own. Signals that we get are passed on to it, and if nobody reads its output any more, it
    is ended: it doesn't go on running unseen.

    Raises:
        CommandNotFoundError, CommandRefusedError: it can't be started.
        ContainerEndedError: the container didn't last as long as the command.
    """
    identifier, connection, output = client.start_command(container, command, terminal=terminal, stdin=True)
    connection.settimeout(None)
    running = _Running(client, container, identifier)
    with connection, _signals_passed_on(running), _raw_terminal(running) if terminal else _nothing():
        threading.Thread(target=_send_input, args=(connection,), name="input", daemon=True).start()
        try:
            for to, piece in _plain(output) if terminal else _frames(output):
                if piece.startswith(_NOT_STARTED) and running.never_started():
                    raise _refused(command[0], piece)
                _write(to, piece)
        except BrokenPipeError:
            running.signal(signal.SIGTERM)
            raise
    return _exit_code(client, container, identifier)


def _exit_code(client: Client, container: str, identifier: str) -> int:
    code: int | None = None
    try:
        while (code := client.command_result(identifier)) is None:
            time.sleep(_POLL)  # the streams end a moment before the engine has the exit code
    except EngineError:  # a removed container takes its commands along
        if client.inspect(container) is not None:
            raise
    if code is None or (code == ContainerEndedError.exit_code and _ends(client, container)):
        raise ContainerEndedError(
            "the release ended while the command ran in it", remedy="if another serves by now, run the command again"
        )
    return code


def _ends(client: Client, container: str) -> bool:
    """Whether the container ends: its commands die first, and the engine notes the end of the container after that."""
    deadline = time.monotonic() + _CONTAINER_FOLLOWS
    while (details := client.inspect(container)) is not None and details.running:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _refused(program: str, answer: bytes) -> EngineError:
    reason = answer.decode("utf-8", "replace").removeprefix(_NOT_STARTED.decode()).strip()
    if "not found" in reason or "no such file" in reason:
        return CommandNotFoundError(
            f"{program}: there is no such command in the container",
            remedy="name a program of the image; shell syntax needs a shell: sh -c '...'",
        )
    if "permission denied" in reason or "is a directory" in reason:
        return CommandRefusedError(f"{program}: it can't be executed", remedy="name a program of the image")
    return CommandRefusedError(f"{program}: {reason}")


# Streams


def _send_input(connection: socket.socket) -> None:
    """Sends what we are given until it ends, and then says so, since `cat` and its like wait for that."""
    with suppress(OSError):
        while sys.stdin is not None and (piece := os.read(sys.stdin.fileno(), _CHUNK)):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)


def _plain(output: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    """From a terminal, which has but one output."""
    while piece := output.read1(_CHUNK):
        yield 1, piece


def _frames(output: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    """Without a terminal, output and errors come in frames with an 8-byte header.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
    """
    while len(header := output.read(8)) == 8:
        stream, length = struct.unpack(">BxxxL", header)
        yield 2 if stream == 2 else 1, output.read(length)


def _write(to: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(to, view) :]


# Signals and the terminal


class _Running:
    """The command while it runs, and what can be done to it from outside."""

    def __init__(self, client: Client, container: str, identifier: str) -> None:
        self._client = client
        self._container = container
        self._identifier = identifier

    def never_started(self) -> bool:
        """Whether the engine has given up on starting it."""
        ended = self._client.command_result(self._identifier) is not None
        return ended and self._client.command_process(self._identifier) == 0

    def signal(self, number: int) -> bool:
        """Sends the signal to the command and its children; False where that can't be done.

        The engine has no call for it. So its own shell sends it, by the process id that the container knows. That is
        read from this machine's /proc, if the process there is the container's, and not another machine's.
        """
        with suppress(OSError, BranchlineError):
            process = Path("/proc", str(self._process_id()))
            ids = re.search(r"^NSpid:.*\s(\d+)$", (process / "status").read_text(), re.MULTILINE)
            if ids is None or self._container not in (process / "cgroup").read_text():
                return False
            kill = f"kill -{number} -{ids.group(1)} 2>/dev/null || kill -{number} {ids.group(1)}"
            started, _ = self._client.run_quietly(self._container, ["/bin/sh", "-c", kill])
            return bool(started)
        return False

    def _process_id(self) -> int:
        # Output may be here before the engine has noted who prints it.
        while not (number := self._client.command_process(self._identifier)):
            if self._client.command_result(self._identifier) is not None:
                break
            time.sleep(_POLL)
        return number

    def resize(self, *_: object) -> None:
        """Gives the command's terminal the size of ours; also as the handler of the signal that says it changed."""
        with suppress(OSError, BranchlineError):
            size = os.get_terminal_size(sys.stdin.fileno())
            self._client.resize_command(self._identifier, size.lines, size.columns)


@contextmanager
def _signals_passed_on(running: _Running) -> Generator[None]:
    """Signals end the command, not us; we end with it. One that can't be passed on, or comes again, ends us alone."""
    passed: set[int] = set()

    def handle(number: int, _: FrameType | None) -> None:
        if number in passed or not running.signal(number):
            raise KeyboardInterrupt
        passed.add(number)

    with _handling(*_PASSED_ON, handler=handle):
        yield


@contextmanager
def _raw_terminal(running: _Running) -> Generator[None]:
    """Our terminal hands every key on, and its size goes along when it changes."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    with _handling(signal.SIGWINCH, handler=running.resize):
        try:
            tty.setraw(descriptor, termios.TCSADRAIN)
            running.resize()
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _handling(*signals: int, handler: Callable[[int, FrameType | None], object]) -> Generator[None]:
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def _nothing() -> Generator[None]:
    yield
