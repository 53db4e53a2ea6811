"""What a machine needs after it has started: the engine brings the containers back, `router start` the rest."""

from __future__ import annotations

import shutil

from branchline.engines.docker import firewall
from tests.docker.conftest import Branchline
from tests.repositories import Repo


def test_router_start_brings_back_the_routes_and_the_firewalls_rules(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    branchline("router", "stop", cwd=shop.path)
    firewall.open_again(branchline.platform)  # the kernel forgets them, too
    assert firewall.state(branchline.platform).status is firewall.Status.OPEN
    branchline("router", "start", cwd=shop.path)
    assert firewall.state(branchline.platform).status is firewall.Status.CLOSED
    assert branchline.get(url).text == "main 1"


def test_all_is_known_from_the_engine_alone(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    shop.commit(files={"version": "main 2"})
    branchline.deploy(shop)
    known = branchline.list(shop.path)
    branchline("router", "stop", cwd=shop.path)
    shutil.rmtree(branchline.state / branchline.platform)
    again = branchline.list(shop.path)
    assert [item | {"memory": None} for item in again] == [item | {"memory": None} for item in known]
    branchline("router", "start", cwd=shop.path)
    assert branchline.get(url).text == "main 2"
    branchline("rollback", cwd=shop.path)
    assert branchline.get(url).text == "main 1"
