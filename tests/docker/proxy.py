"""Stands between the command line and the engine, and lets chosen calls fail as they do on a bad day."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from docker.constants import DEFAULT_UNIX_SOCKET

ENGINE = DEFAULT_UNIX_SOCKET.partition("://")[2]
_CHUNK = 1 << 16
LOST = b""
"""The fault of an answer that never arrives, although the engine did what it was asked."""


@dataclass(frozen=True)
class Call:
    """A request to the engine."""

    number: int
    """Counts from 1, since the fault was set."""
    method: str
    path: str


Fault = Callable[[Call], bytes | None]
"""The answer to give in the engine's place, `LOST`, or None to leave the call alone."""


def refused(message: str) -> bytes:
    """The engine's answer to a call that failed inside of it."""
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def build_error(message: str) -> bytes:
    """The engine's answer to a build that began and then failed."""
    body = json.dumps({"errorDetail": {"message": message}, "error": message}).encode() + b"\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body


@dataclass
class Proxy:
    """An engine's socket of its own."""

    path: Path
    fault: Fault = lambda _: None
    calls: list[Call] = field(default_factory=list)
    """All that were made since the fault was set."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a command use it."""
        return {"DOCKER_HOST": f"unix://{self.path}"}

    def let(self, fault: Fault) -> None:
        """Lets calls fail from now on."""
        with self._lock:
            self.fault, self.calls = fault, []

    def answer(self, method: str, path: str) -> bytes | None:
        """Counts a call in, and decides what becomes of it."""
        with self._lock:
            call = Call(len(self.calls) + 1, method, path)
            self.calls.append(call)
            return self.fault(call)


@contextmanager
def in_front_of_the_engine(path: Path) -> Iterator[Proxy]:
    """A proxy that listens at a unix socket within the block."""
    proxy = Proxy(path)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                _serve(self.request, proxy)

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _serve(client: socket.socket, proxy: Proxy) -> None:
    """One request a connection: what follows its head, in both directions, is passed on until one side ends."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = client.recv(_CHUNK)
        if not chunk:
            return  # a probe that only connected
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    method, path, _ = lines[0].decode().split(" ")
    fault = proxy.answer(method, path)
    if fault:
        while b"transfer-encoding: chunked" in head.lower() and not body.endswith(b"0\r\n\r\n"):
            body = body[-8:] + client.recv(_CHUNK)  # the client reads nothing before it has sent everything
        client.sendall(fault)
        return
    if not any(line.lower().startswith(b"upgrade:") for line in lines):
        lines = [line for line in lines if not line.lower().startswith(b"connection:")] + [b"Connection: close"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
        engine.connect(ENGINE)
        engine.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        threading.Thread(target=_copy, args=(client, engine), daemon=True).start()
        while chunk := engine.recv(_CHUNK):
            if fault is None:
                client.sendall(chunk)
        client.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
