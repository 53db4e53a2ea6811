"""Connects this process's standard streams to a command that runs in a container."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import sys
import termios
import threading
import tty
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from branchline.engines.docker.client import Client

_CHUNK = 1 << 16


def run_attached(client: Client, container: str, command: list[str], *, terminal: bool) -> int:
    """Runs the command with our input, output and errors; returns its exit code.

    With `terminal` it gets a terminal of our size that follows ours, so that shells and editors work.
    """
    identifier, connection = client.start_command(container, command, terminal=terminal, stdin=True)
    connection.setblocking(True)
    connection.settimeout(None)
    with connection, _raw_terminal(client, identifier) if terminal else _nothing():
        threading.Thread(target=_send_input, args=(connection,), name="input", daemon=True).start()
        if terminal:
            _copy(connection, sys.stdout.fileno())
        else:
            _demultiplex(connection)
    while (code := client.command_result(identifier)) is None:
        threading.Event().wait(0.02)  # the streams end a moment before the engine has the exit code
    return code


def _send_input(connection: socket.socket) -> None:
    """Sends what we are given until it ends, and then says so, since `cat` and its like wait for that."""
    with suppress(OSError):
        while piece := os.read(sys.stdin.fileno(), _CHUNK):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)


def _copy(connection: socket.socket, to: int) -> None:
    while piece := connection.recv(_CHUNK):
        _write(to, piece)


def _demultiplex(connection: socket.socket) -> None:
    """Without a terminal, output and errors come in frames with an 8-byte header.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
    """
    while header := _exactly(connection, 8):
        stream, length = struct.unpack(">BxxxL", header)
        _write(2 if stream == 2 else 1, _exactly(connection, length))


def _exactly(connection: socket.socket, count: int) -> bytes:
    """That many bytes, or none where the stream has ended."""
    received = bytearray()
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            return b""
        received += piece
    return bytes(received)


def _write(to: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(to, view) :]


@contextmanager
def _nothing() -> Generator[None]:
    yield


@contextmanager
def _raw_terminal(client: Client, identifier: str) -> Generator[None]:
    """Our terminal hands every key on, and its size goes along when it changes."""

    def resize(*_: Any) -> None:
        size = shutil.get_terminal_size()
        client.resize_command(identifier, size.lines, size.columns)

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    previous = signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(descriptor)
        resize()
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, previous)
