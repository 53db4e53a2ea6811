"""Connections that last, and bodies that are large, through the router."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as websocket_server

from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.settings.platform import PlatformSettings
from tests.router.upstream import Upstream

HOST = "a--shop.localhost"


def serve(router: Router, *routes: Route) -> None:
    with router.lock():
        router.apply(routes)


def another(number: int) -> Route:
    """Another branch's route, new with each number."""
    return Route("b--shop.localhost", State.READY, f"127.0.0.1:{number + 1}")


@contextmanager
def echoing() -> Iterator[str]:
    """Within the block, a WebSocket server sends back what it gets; its address."""

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with websocket_server(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_websocket_survives_other_branches_deploys(router: Router, settings: PlatformSettings) -> None:
    port = settings.router.http_port
    with echoing() as address:
        route = Route(HOST, State.READY, address)
        serve(router, route, another(0))
        with connect(f"ws://{HOST}/", sock=socket.create_connection(("127.0.0.1", port))) as client:
            for number in range(1, 21):
                serve(router, route, another(number))
                client.send(f"message {number}")
                assert client.recv(timeout=5) == f"message {number}"
            assert router.in_flight(address) == 1
        serve(router, another(21))


def test_server_sent_events_arrive_at_once_and_survive_deploys(
    router: Router, base: str, upstream: Callable[[str], Upstream]
) -> None:
    server = upstream("a")
    route = Route(HOST, State.READY, server.address)
    serve(router, route, another(0))
    with httpx.stream("GET", f"{base}/events", headers={"Host": HOST}, timeout=5) as answer:
        lines = answer.iter_lines()
        for number in range(1, 6):
            server.events.put(str(number))
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
            serve(router, route, another(number))
        server.events.put("")
        assert list(lines) == []


def resident(pid: int) -> int:
    """The most memory that the process has had in use, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def test_a_large_upload_streams_through(router: Router, base: str, upstream: Callable[[str], Upstream]) -> None:
    serve(router, Route(HOST, State.READY, upstream("a").address))
    pid = router.status().pid
    assert pid is not None
    assert httpx.get(base, headers={"Host": HOST}).status_code == 200
    before = resident(pid)
    size = 200 << 20
    piece = bytes(1 << 20)
    answer = httpx.post(
        f"{base}/upload",
        content=(piece for _ in range(200)),
        headers={"Host": HOST, "Content-Length": str(size)},
        timeout=60,
    )
    assert answer.text == str(size)
    assert resident(pid) - before < 32 << 20


def test_http_2_works_without_tls(router: Router, base: str, upstream: Callable[[str], Upstream]) -> None:
    serve(router, Route(HOST, State.READY, upstream("a").address))
    with httpx.Client(http1=False, http2=True) as client:
        answer = client.get(base, headers={"Host": HOST})
    assert (answer.http_version, answer.text) == ("HTTP/2", "a")
