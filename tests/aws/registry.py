"""Stands between the engine and MiniStack's registry: asks for a login as ECR does, and lets chosen requests fail."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase

from branchline.ports import Login

LOGIN = Login("AWS", "a-token-that-nobody-may-see")


@dataclass(frozen=True)
class Answer:
    """What to answer in the registry's place: https://distribution.github.io/distribution/spec/api/#errors"""

    status: int
    code: str
    message: str

    @property
    def body(self) -> bytes:
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode()


@dataclass
class Slow:
    """Takes the upload in slowly, and never answers. The engine looks up from an upload as long as it has to send."""

    under_way: threading.Event = field(default_factory=threading.Event)
    """Set after the first 4 MB."""
    hung_up: threading.Event = field(default_factory=threading.Event)

    def take(self, body: BufferedIOBase) -> None:
        taken = 0
        while piece := body.read1(1 << 16):
            taken += len(piece)
            if taken > 4_000_000:
                self.under_way.set()
            time.sleep(0.01)
        self.hung_up.set()


Fault = Callable[[str, str], Answer | Slow | None]
"""By method and path, what becomes of a request; None to leave it alone."""


@dataclass
class Registry:
    """Where it is, and what was asked of it."""

    address: str
    requests: list[str] = field(default_factory=list)
    """Those that came with the login."""
    fault: Fault = lambda _method, _path: None


@contextmanager
def in_front_of(port: int) -> Iterator[Registry]:
    """A registry that lets only `LOGIN` in, and otherwise is the one on that port."""
    wanted = f"Basic {base64.b64encode(f'{LOGIN.user}:{LOGIN.password}'.encode()).decode()}"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.read()
                self.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="test"'})
                return
            registry.requests.append(f"{self.command} {self.path}")
            fault = registry.fault(self.command, self.path)
            if isinstance(fault, Slow):
                fault.take(self.rfile)
                self.close_connection = True
                return
            body = self.read()
            if fault is not None:
                self.answer(fault.status, fault.body, {"Content-Type": "application/json"})
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.answer(answer.status, content, dict(answer.getheaders()))
            connection.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = serve  # noqa: N815 - by the names that http.server looks for

        def read(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            length = headers.get("Content-Length", headers.get("content-length")) if self.command == "HEAD" else None
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        registry = Registry(f"127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
