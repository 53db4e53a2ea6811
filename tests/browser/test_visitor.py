"""What a tester who opens the link sees."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.docker.app import app
from tests.docker.conftest import Branchline, free_port
from tests.repositories import Repo
from tests.waiting import eventually


def test_the_url_works_in_a_browser_as_it_is_printed(branchline: Branchline, shop: Repo, page: Page) -> None:
    url = branchline("deploy", cwd=shop.path).out.strip()
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200
    assert answer.headers["x-robots-tag"] == "noindex"
    expect(page.locator("body")).to_have_text("main 1")


def test_the_page_of_a_branch_that_is_being_built_turns_into_the_branch(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo], page: Page
) -> None:
    repo = repository(app(python_base, "here it is", more="RUN sleep 4"))
    deploy = branchline.start("deploy", cwd=repo.path)
    (found,) = eventually(lambda: branchline.list(repo.path), "the environment is listed", timeout=30)
    eventually(lambda: branchline.get(found["url"]).status_code == 503, "the router knows of it")
    answer = page.goto(found["url"])
    assert answer is not None
    assert answer.status == 503
    expect(page.locator("h1")).to_contain_text("being built", ignore_case=True)
    expect(page.locator("body")).to_have_text("here it is", timeout=30_000)
    deploy.communicate(timeout=60)
    assert deploy.returncode == 0


def test_an_unknown_host_gets_a_page_that_says_so(branchline: Branchline, shop: Repo, page: Page) -> None:
    url = branchline("deploy", cwd=shop.path).out.strip()
    answer = page.goto(url.replace("main--", "nobody--"))
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("body")).to_contain_text("nobody--shop.localhost")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_https_with_the_routers_own_authority(branchline: Branchline, shop: Repo, page: Page) -> None:
    port = free_port()
    https = {"BRANCHLINE_ROUTER_HTTPS": "internal", "BRANCHLINE_ROUTER_HTTPS_PORT": str(port)}
    url = branchline("deploy", cwd=shop.path, env=https).out.strip()
    assert url == f"https://main--shop.localhost:{port}"
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    page.goto(f"http://main--shop.localhost:{branchline.port}/headers")
    assert page.url == f"https://main--shop.localhost:{port}/headers"
