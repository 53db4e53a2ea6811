"""What a visitor gets, by host."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from tests.conftest import Run
from tests.router.conftest import free_port
from tests.router.upstream import Upstream

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def serve(router: Router, *routes: Route) -> None:
    with router.lock():
        router.apply(routes)


def test_each_host_gets_its_own_environment(router: Router, base: str, upstream: Callable[[str], Upstream]) -> None:
    one, two = upstream("one"), upstream("two")
    serve(
        router,
        Route("one--shop.localhost", State.READY, one.address),
        Route("two--shop.localhost", State.READY, two.address),
    )
    for name in ("one", "two"):
        assert httpx.get(base, headers={"Host": f"{name}--shop.localhost"}).text == name


@pytest.mark.parametrize("others", [0, 300])
@pytest.mark.parametrize(
    "host", ["a--shop.localhost", "A--Shop.LOCALHOST", "A--Shop.LOCALHOST:8080", "a--shop.localhost:1"]
)
def test_a_host_is_found_whatever_its_case_and_port(
    router: Router, base: str, upstream: Callable[[str], Upstream], host: str, others: int
) -> None:
    crowd = [Route(f"x{number}--shop.localhost", State.BUILDING) for number in range(others)]
    serve(router, Route("a--shop.localhost", State.READY, upstream("a").address), *crowd)
    answer = httpx.get(f"{base}/headers", headers={"Host": host})
    assert json.loads(answer.text)["Host"] == host.lower()


def test_an_absolute_host_is_sent_to_the_usual_one(router: Router, base: str) -> None:
    serve(router)
    answer = httpx.get(f"{base}/path?q=1", headers={"Host": "A--shop.localhost.:8080"})
    assert (answer.status_code, answer.headers["Location"]) == (308, "http://a--shop.localhost:8080/path?q=1")
    assert answer.headers["X-Robots-Tag"] == "noindex"


def test_the_upstream_learns_who_asked(router: Router, base: str, upstream: Callable[[str], Upstream]) -> None:
    serve(router, Route("a.localhost", State.READY, upstream("a").address))
    sent = {"Host": "a.localhost", "X-Forwarded-For": "192.0.2.7"}
    headers = json.loads(httpx.get(f"{base}/headers", headers=sent).text)
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Host"] == "a.localhost"
    assert headers["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize("others", [0, 300])
def test_an_unknown_host_gets_a_page_that_says_so(router: Router, base: str, others: int) -> None:
    serve(router, *(Route(f"x{number}--shop.localhost", State.BUILDING) for number in range(others)))
    answer = httpx.get(base, headers={"Host": "gone--shop.localhost", **BROWSER})
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "No environment here" in answer.text
    assert "gone--shop.localhost is not the address of an environment" in answer.text
    assert "http" not in answer.text.replace("http-equiv", "")  # nothing from elsewhere


def test_a_program_gets_plain_text(router: Router, base: str) -> None:
    serve(router)
    answer = httpx.get(base, headers={"Host": "gone.localhost"})
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("No environment here: gone.localhost is not")


def test_a_host_can_bring_no_markup_into_a_page(router: Router, base: str) -> None:
    serve(router)
    # Caddy itself refuses a Host with angle brackets; what it lets through is escaped.
    assert httpx.get(base, headers={"Host": "<script>alert(1)</script>", **BROWSER}).status_code == 400
    answer = httpx.get(base, headers={"Host": "&lt;script&gt;'{{.Req}}{env.HOME}", **BROWSER})
    assert answer.status_code in (400, 404)
    answer = httpx.get(base, headers={"Host": "&lt;script&gt;'", **BROWSER})
    assert answer.status_code == 404
    assert "&amp;lt;script&amp;gt;&#39;" in answer.text


def test_a_branch_can_bring_no_markup_or_placeholder_into_a_page(
    router: Router, base: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = run.directory / "secret"
    secret.write_text("do not show")
    branch = f"<b>{{file.{secret}}}{{env.HOME}}{{{{.Host}}}}"
    serve(router, Route("a.localhost", State.FAILED, branch=branch, project="shop"))
    page = httpx.get(base, headers={"Host": "a.localhost", **BROWSER}).text
    assert f"&lt;b&gt;{{file.{secret}}}{{env.HOME}}{{{{.Host}}}}" in page
    text = httpx.get(base, headers={"Host": "a.localhost"}).text
    assert f"branchline show '{branch}'" in text


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
@pytest.mark.parametrize(
    ("state", "title", "said"),
    [
        (State.BUILDING, "Being built", "feature/x of shop is being built"),
        (State.STARTING, "Starting", "feature/x of shop is built and is starting"),
        (State.FAILED, "The last deploy failed", "branchline show feature/x"),
        (State.SLEEPING, "Asleep", "branchline wake feature/x"),
    ],
)
def test_an_environment_that_is_not_ready_says_why_and_when_to_try_again(
    router: Router, base: str, state: State, title: str, said: str, accept: str
) -> None:
    serve(router, Route("a--shop.localhost", state, branch="feature/x", project="shop"))
    answer = httpx.get(f"{base}/any/path", headers={"Host": "A--shop.localhost", "Accept": accept})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert title in answer.text
    assert said in answer.text
    refreshes = state in (State.BUILDING, State.STARTING) and accept == "text/html"
    assert ('http-equiv="refresh"' in answer.text) is refreshes


def test_an_upstream_that_refuses_gets_a_page_and_not_an_empty_answer(router: Router, base: str) -> None:
    serve(router, Route("a.localhost", State.READY, f"127.0.0.1:{free_port()}", "feature/x", "shop"))
    answer = httpx.get(base, headers={"Host": "a.localhost", **BROWSER})
    assert answer.status_code == 502
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert "branchline logs feature/x" in answer.text


def test_the_router_says_noindex_whatever_the_environment_says(
    router: Router, base: str, upstream: Callable[[str], Upstream]
) -> None:
    serve(router, Route("a.localhost", State.READY, upstream("a").address))
    answer = httpx.get(base, headers={"Host": "a.localhost"})
    assert answer.headers.get_list("X-Robots-Tag") == ["noindex"]
