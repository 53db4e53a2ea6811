"""From one release to the next without a failed request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from branchline.cancellation import Cancellation
from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.errors import DeletedError
from tests.router.upstream import Upstream
from tests.waiting import eventually

HOST = "a--shop.localhost"


def point(router: Router, server: Upstream) -> None:
    with router.lock():
        router.apply([Route(HOST, State.READY, server.address)])


def test_no_request_fails_while_the_upstream_is_switched(
    router: Router, base: str, upstream: Callable[[str], Upstream]
) -> None:
    servers = [upstream("one"), upstream("two")]
    point(router, servers[0])
    done = threading.Event()

    def hammer() -> list[str]:
        answers: list[str] = []
        with httpx.Client(base_url=base, headers={"Host": HOST}) as client:
            while not done.is_set():
                answer = client.get("/")
                answers.append(answer.text if answer.status_code == 200 else f"status {answer.status_code}")
        return answers

    with ThreadPoolExecutor() as pool:
        hammers = [pool.submit(hammer) for _ in range(4)]
        try:
            for number in range(1, 51):
                server = servers[number % 2]
                point(router, server)
                # What comes after the switch comes from the new one.
                assert httpx.get(base, headers={"Host": HOST}).text == server.name
        finally:
            done.set()
        answers = [answer for future in hammers for answer in future.result()]
    assert len(answers) > 300
    assert set(answers) == {"one", "two"}


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
