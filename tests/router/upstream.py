"""A real HTTP server on loopback that stands for an environment's container."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Upstream(ThreadingHTTPServer):
    """Answers with its name; `/headers`, `/slow?seconds=`, `/events` and `POST /upload` do as they are called."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.events: queue.Queue[str] = queue.Queue()
        """What `/events` sends next."""
        self.slow_requests = 0
        """How many of them have arrived."""

    @property
    def address(self) -> str:
        """As a route names it."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one packet: the rest of one in two would wait for the first's acknowledgement
    server: Upstream

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path:
            case "/headers":
                self._answer(json.dumps(dict(self.headers)))
            case "/slow":
                self.server.slow_requests += 1
                time.sleep(float(parse_qs(url.query)["seconds"][0]))
                self._answer(self.server.name)
            case "/events":
                self._events()
            case _:
                self._answer(self.server.name)

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        received = 0
        while received < left:
            received += len(self.rfile.read(min(1 << 20, left - received)))
        self._answer(str(received))

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Robots-Tag", "all")
        self.end_headers()
        self.wfile.write(body)

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        while event := self.server.events.get():
            self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving(name: str) -> Iterator[Upstream]:
    """Within the block, the server runs."""
    server = Upstream(name)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.events.put("")
        server.shutdown()
        server.server_close()
        thread.join()
