"""From one release to the next without a failed request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import httpx
import pytest

from branchline.cancellation import Cancellation
from branchline.engines.docker.router import config
from branchline.engines.docker.router.admin import Admin
from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.errors import DeletedError
from branchline.settings.platform import PlatformSettings
from tests.router.upstream import Upstream
from tests.waiting import eventually

HOST = "a--shop.localhost"


def point(router: Router, server: Upstream) -> None:
    with router.lock():
        router.apply([Route(HOST, State.READY, server.address)])


# A connection that is accepted just as the old server ends, or a kept one that had nothing to ask for a tenth of a
# second before, may be closed as its next request is on its way. Its client gets no answer at all, and sends the
# request again (RFC 9112, section 9.3.1), as browsers do.
CLOSED_MEANWHILE = (RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Visitor:
    """A client that keeps its connection, or not."""

    def __init__(self, port: int, kept: bool) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self.resent = 0
        self._headers = {"Host": HOST} if kept else {"Host": HOST, "Connection": "close"}

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self) -> str:
        """The answer, or what was wrong with it."""
        for _ in range(3):
            with suppress(*CLOSED_MEANWHILE):
                self._connection.request("GET", "/", headers=self._headers)
                answer = self._connection.getresponse()
                text = answer.read().decode()
                return text if answer.status == 200 else f"status {answer.status}"
            self.resent += 1
            self._connection.close()
        return "no answer"


@pytest.mark.parametrize("kept", [False, True], ids=["a connection each", "kept connections"])
def test_every_request_is_answered_while_the_upstream_is_switched(
    router: Router, settings: PlatformSettings, upstream: Callable[[str], Upstream], kept: bool
) -> None:
    servers = [upstream("one"), upstream("two")]
    point(router, servers[0])
    switched = threading.Event()

    def hammer() -> tuple[list[str], int]:
        answers: list[str] = []
        with Visitor(settings.router.http_port, kept) as visitor:
            while not switched.is_set():
                answers.append(visitor.ask())
        return answers, visitor.resent

    with ThreadPoolExecutor() as pool:
        hammers = [pool.submit(hammer) for _ in range(4)]
        try:
            for number in range(1, 51):
                server = servers[number % 2]
                point(router, server)
                # What comes after the switch comes from the new one.
                with Visitor(settings.router.http_port, kept=False) as visitor:
                    assert visitor.ask() == server.name
        finally:
            switched.set()
        results = [future.result() for future in hammers]
    answers = [answer for answered, _ in results for answer in answered]
    assert len(answers) > 100
    assert set(answers) == {"one", "two"}
    assert sum(resent for _, resent in results) < 50, "less than one a switch; without the handover it is four and more"


def test_connections_are_handed_over_only_where_there_are_any(
    router: Router, settings: PlatformSettings, directory: Path, upstream: Callable[[str], Upstream]
) -> None:
    def listening_on() -> bytes:
        return Admin(config.socket_path(directory)).get("/config/apps/http/servers/environments/listen")

    servers = [upstream("one"), upstream("two")]
    point(router, servers[0])
    before = listening_on()
    point(router, servers[1])
    assert listening_on() == before, "nobody is connected, so nobody has to wait"
    with Visitor(settings.router.http_port, kept=True) as visitor:
        assert visitor.ask() == "two"
        point(router, servers[0])
        assert listening_on() != before
        assert visitor.ask() == "one"


def test_a_slow_request_survives_the_switch_and_the_drain_waits_for_it(
    router: Router, base: str, upstream: Callable[[str], Upstream]
) -> None:
    old, new = upstream("old"), upstream("new")
    point(router, old)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(httpx.get, f"{base}/slow?seconds=3", headers={"Host": HOST}, timeout=10)
        eventually(lambda: old.slow_requests == 1, "the slow request has arrived")
        point(router, new)
        assert httpx.get(base, headers={"Host": HOST}).text == "new"
        assert router.in_flight(old.address) == 1
        started = time.monotonic()
        router.drain(old.address, 10, Cancellation())
        assert time.monotonic() - started < 5
        assert router.in_flight(old.address) == 0
        assert slow.done() or slow.result(timeout=1)
        assert slow.result().text == "old"


def test_an_idle_upstream_is_drained_at_once(router: Router, upstream: Callable[[str], Upstream]) -> None:
    old, new = upstream("old"), upstream("new")
    point(router, old)
    point(router, new)
    started = time.monotonic()
    router.drain(old.address, 30, Cancellation())
    assert time.monotonic() - started < 5


def test_a_drain_gives_up_when_the_grace_is_over(
    router: Router, base: str, upstream: Callable[[str], Upstream]
) -> None:
    old, new = upstream("old"), upstream("new")
    point(router, old)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(httpx.get, f"{base}/slow?seconds=3", headers={"Host": HOST}, timeout=10)
        eventually(lambda: old.slow_requests == 1, "the slow request has arrived")
        point(router, new)
        started = time.monotonic()
        router.drain(old.address, 0.5, Cancellation())
        assert 0.5 <= time.monotonic() - started < 2.5
        assert router.in_flight(old.address) == 1
        assert slow.result().text == "old"


def test_a_drain_ends_with_the_reason_to_stop(router: Router, base: str, upstream: Callable[[str], Upstream]) -> None:
    old = upstream("old")
    point(router, old)
    cancellation = Cancellation()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(httpx.get, f"{base}/slow?seconds=1", headers={"Host": HOST}, timeout=10)
        eventually(lambda: old.slow_requests == 1, "the slow request has arrived")
        cancellation.cancel(DeletedError("the branch was deleted"))
        with pytest.raises(DeletedError):
            router.drain(old.address, 30, cancellation)
        slow.result()


def test_nothing_is_in_flight_where_no_router_runs(router: Router) -> None:
    assert router.in_flight("127.0.0.1:1") == 0
    router.drain("127.0.0.1:1", 30, Cancellation())


def test_the_router_can_be_asked_while_it_is_changed(router: Router, upstream: Callable[[str], Upstream]) -> None:
    servers = [upstream("one"), upstream("two")]
    point(router, servers[0])
    done = threading.Event()

    def ask() -> int:
        asked = 0
        while not done.is_set():
            assert router.in_flight(servers[0].address) == 0
            asked += 1
        return asked

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        try:
            for number in range(50):
                point(router, servers[number % 2])
        finally:
            done.set()
        assert asking.result() > 50
