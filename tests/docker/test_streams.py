"""Through the router to a real container: WebSockets, server-sent events, uploads, headers."""

from __future__ import annotations

import json
import os
import signal
from socket import create_connection

import httpx
from websockets.sync.client import connect

from tests.docker.conftest import Branchline
from tests.repositories import Repo


def test_a_websocket_survives_another_branchs_deploy(branchline: Branchline, shop: Repo) -> None:
    shop.branch("other")
    host = httpx.URL(branchline.deploy(shop)["url"]).host
    router = create_connection(("127.0.0.1", branchline.port))
    with connect(f"ws://{host}:{branchline.port}/ws", sock=router, proxy=None) as socket:
        socket.send("before")
        assert socket.recv() == "before"
        branchline.deploy(shop, "--branch", "other")
        branchline("destroy", "other", cwd=shop.path)
        socket.send("after")
        assert socket.recv() == "after"


def test_events_come_one_by_one_and_through_another_branchs_deploy(branchline: Branchline, shop: Repo) -> None:
    shop.branch("other")
    host = httpx.URL(branchline.deploy(shop)["url"]).host
    with (
        httpx.Client(timeout=10) as client,
        client.stream("GET", f"http://127.0.0.1:{branchline.port}/events", headers={"Host": host}) as answer,
    ):
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "data: 0"
        branchline.deploy(shop, "--branch", "other")
        assert [next(lines) for _ in range(3)] == ["data: 1", "data: 2", "data: 3"]


def test_a_large_upload_arrives_whole(branchline: Branchline, shop: Repo) -> None:
    host = httpx.URL(branchline.deploy(shop)["url"]).host
    size = 64 << 20
    with httpx.Client(timeout=60) as client:
        answer = client.post(
            f"http://127.0.0.1:{branchline.port}/upload",
            headers={"Host": host, "Content-Length": str(size)},
            content=(bytes(1 << 20) for _ in range(64)),
        )
    assert answer.text == str(size)


def test_the_application_sees_the_host_and_the_visitor(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    seen = json.loads(branchline.get(url, "/headers").text)
    assert seen["Host"] == httpx.URL(url).host
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == "http"


def test_a_crashed_router_is_started_again_with_all_routes(branchline: Branchline, shop: Repo) -> None:
    shop.branch("other")
    url, other = branchline.deploy(shop)["url"], branchline.deploy(shop, "--branch", "other")["url"]
    status = branchline("router", "status", "--json", cwd=shop.path).json
    os.kill(status["pid"], signal.SIGKILL)
    branchline("router", "start", cwd=shop.path)
    assert branchline.get(url).text == "main 1"
    assert branchline.get(other).text == "main 1"
    os.kill(branchline("router", "status", "--json", cwd=shop.path).json["pid"], signal.SIGKILL)
    shop.commit(files={"version": "main 2"})
    branchline.deploy(shop)
    assert branchline.get(url).text == "main 2"
    assert branchline.get(other).text == "main 1"
