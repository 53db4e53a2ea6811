"""Services that answer as none should."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from branchline import web


@contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[str]:
    """The URL of a server that begins an answer, and never comes to its end."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.sendall(head)
            while not over.wait(0.05):
                connection.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("head", "drop"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", b"a"), (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n")],
    ids=["body", "headers"],
)
def test_an_answer_without_an_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, head: bytes, drop: bytes) -> None:
    monkeypatch.setattr(web, "_LONGEST", 0.4)
    begun = time.monotonic()
    with dripping(head, drop) as url, pytest.raises(web.WebError, match=r"not the whole of it in 0.4 s") as raised:
        web.ask("GET", url)
    assert time.monotonic() - begun < 3
    assert "secret" not in raised.value.message


def test_a_proxy_of_the_environment_is_used_but_for_what_is_to_be_asked_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        here = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("http_proxy", here)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        web.ask("GET", "http://forge.example/branches")
        web.ask("GET", f"http://{here}/directly")
        server.shutdown()
        thread.join()
    assert asked == ["http://forge.example/branches", "/directly"]
