"""A branch on Amazon ECS, from its first deploy to its end, through the real command line."""

from __future__ import annotations

import httpx
import pytest

from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from tests.driver import Branchline
from tests.repositories import Repo


@pytest.fixture
def shop(tiny_base: str, repository) -> Repo:
    """A repository whose main answers 'main 1'."""
    return repository(app(tiny_base, "main 1"))


def app(base: str, text: str) -> dict[str, str]:
    dockerfile = f'FROM {base}\nCOPY index.html /www/\nEXPOSE 8000\nCMD ["httpd", "-f", "-p", "8000", "-h", "/www"]\n'
    return {"Dockerfile": dockerfile, "index.html": text}


def test_a_branch_lives_and_goes(branchline: Branchline, base: Base, aws: Aws, shop: Repo) -> None:
    r = branchline.try_("deploy", cwd=shop.path); print(r.out, r.err); first = branchline.deploy(shop)
    assert branchline.get(first["url"]).text == "main 1"
    shop.commit("Second", {"index.html": "main 2"})
    second = branchline.deploy(shop)
    assert branchline.get(second["url"]).text == "main 2"
    print(branchline("list", cwd=shop.path).out)
    print(branchline("destroy", "main", cwd=shop.path).out)
    assert branchline.get(second["url"]).status_code == 404
