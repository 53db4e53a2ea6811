"""Destroy, reap and rollback."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import docker

from tests import leftovers
from tests.docker.app import app
from tests.docker.conftest import Branchline
from tests.repositories import Repo, git


def test_destroy_removes_all_that_a_branch_had_and_says_what(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    url = branchline.deploy(shop)["url"]
    said = branchline("destroy", "main", cwd=shop.path).out
    for kind in ("container", "network", "image"):
        assert f"  {kind} branchline." in said
    assert leftovers.resources(engine, branchline.platform) == []
    answer = branchline.get(url)
    assert answer.status_code == 404
    assert "main--shop.localhost" in answer.text
    again = branchline("destroy", "main", cwd=shop.path)
    assert "there was nothing to remove" in again.out
    assert list((branchline.state / branchline.platform / "leases").glob("shop.*.lock")) == []


def test_destroy_leaves_the_other_branches_alone(branchline: Branchline, shop: Repo, python_base: str) -> None:
    shop.branch("other")
    branchline.deploy(shop)
    url = branchline.deploy(shop, "--branch", "other")["url"]
    branchline("destroy", "main", cwd=shop.path)
    assert branchline.get(url).text == "main 1"
    assert branchline.deploy(shop, "--branch", "other")["unchanged"] is True


def test_what_does_not_carry_our_labels_is_never_touched(
    branchline: Branchline, shop: Repo, tiny_base: str, engine: docker.DockerClient
) -> None:
    stranger = engine.containers.create(tiny_base, "true", name=f"branchline.{branchline.platform}.shop.main.1")
    try:
        refused = branchline.try_("deploy", cwd=shop.path)
        assert refused.code == 1
        assert "is already in use" in refused.err
        branchline("destroy", "main", cwd=shop.path)
        stranger.reload()
        assert stranger.status == "created"
    finally:
        stranger.remove()


def test_two_platforms_on_one_engine_never_meet(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    branchline.deploy(shop)
    other = {"BRANCHLINE_PLATFORM": f"{branchline.platform}x", "BRANCHLINE_ROUTER_HTTP_PORT": str(branchline.port)}
    assert branchline("list", "--json", "--all", cwd=shop.path, env=other).json == []
    branchline("destroy", "--all", cwd=shop.path, env=other)
    branchline("reap", cwd=shop.path, env=other)
    assert [item["state"] for item in branchline.list(shop.path)] == ["ready"]


def test_reap_removes_what_is_gone_in_the_remote_and_nothing_else(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    shop.branch("feature")
    shop.add_origin()
    branchline.deploy(shop)
    branchline.deploy(shop, "--branch", "feature")
    branchline.deploy(shop, "--branch", "pull/7", "--commit", shop.head)  # a fork's: git doesn't know it to be open
    assert "nothing to remove" in branchline("reap", "--dry-run", cwd=shop.path).out
    assert "nothing to remove" in branchline("reap", cwd=shop.path).out
    git(shop.origin, "branch", "-D", "feature")  # in the remote only, as a forge's button does it
    listed = branchline("reap", "--dry-run", cwd=shop.path).out
    assert "feature: would remove the environment (its branch is gone)" in listed
    assert len(branchline.list(shop.path)) == 3
    said = branchline("reap", "--json", cwd=shop.path).json
    assert [(item["branch"], item["why"]) for item in said] == [("feature", "its branch is gone")]
    assert any(name.startswith("container ") for name in said[0]["removed"])
    assert [item["branch"] for item in branchline.list(shop.path)] == ["main", "pull/7"]


def test_reap_removes_nothing_where_the_remote_cannot_be_asked_or_is_empty(branchline: Branchline, shop: Repo) -> None:
    origin = shop.add_origin()
    branchline.deploy(shop)
    elsewhere = origin.with_name("moved.git")
    shutil.move(origin, elsewhere)
    refused = branchline.try_("reap", cwd=shop.path)
    assert refused.code == 1
    git(shop.path, "init", "--quiet", "--bare", str(origin))
    refused = branchline.try_("reap", cwd=shop.path)
    assert refused.code == 1
    assert "no branches at all" in refused.err
    assert [item["state"] for item in branchline.list(shop.path)] == ["ready"]


def test_reap_never_looks_at_other_projects_branches(branchline: Branchline, shop: Repo, python_base: str) -> None:
    shop.branch("only-here")
    branchline.deploy(shop, "--branch", "only-here", "--project", "other")
    shop.delete_branch("only-here")
    assert "nothing to remove" in branchline("reap", cwd=shop.path).out
    assert len(branchline.list(shop.path)) == 1


def test_reap_leaves_another_repository_of_the_same_name_alone(
    branchline: Branchline, shop: Repo, repository: Callable[..., Repo]
) -> None:
    shop.branch("feature")
    branchline.deploy(shop, "--branch", "feature")
    namesake = repository({"README": "another one"}, name="elsewhere/shop")
    looked = branchline("reap", cwd=namesake.path)
    assert "nothing to remove" in looked.out
    assert f"left alone: 1 of shop that come from {shop.path}" in looked.err
    assert "its branch is gone" in branchline("reap", "--dry-run", "--project", "shop", cwd=namesake.path).out


def test_reap_removes_what_has_expired(branchline: Branchline, shop: Repo) -> None:
    deployed = branchline.deploy(shop, env={"BRANCHLINE_LIFETIME": "0.0001"})
    assert deployed["expires"]
    said = branchline("reap", cwd=shop.path).out
    assert "it expired at" in said
    assert branchline.list(shop.path) == []


def test_rollback_goes_back_and_forth(branchline: Branchline, shop: Repo) -> None:
    first = branchline.deploy(shop)
    nothing = branchline.try_("rollback", "main", cwd=shop.path)
    assert nothing.code == 2
    assert "no previous release" in nothing.err
    shop.commit(files={"version": "main 2"})
    url = branchline.deploy(shop)["url"]
    with branchline.load(url) as load:
        back = branchline("rollback", "main", "--json", cwd=shop.path).json
    assert load.failures == []
    assert back["commit"] == first["commit"]
    assert back["previous"]["commit"] == shop.head
    assert branchline.get(url).text == "main 1"
    assert branchline("rollback", "main", cwd=shop.path).out.strip() == url
    assert branchline.get(url).text == "main 2"
    shop.commit(files={"version": "main 3"})
    branchline.deploy(shop)
    assert branchline.get(url).text == "main 3"


def test_a_rollback_whose_release_is_broken_now_leaves_the_present_one(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    once = "[ -e /ran ] && echo second time && exit 5; touch /ran; exec python3 /app/server.py 0.0.0.0 8000"
    repo = repository(app(python_base, "one", more='ENTRYPOINT ["sh", "-c", "' + once + '"]'))
    url = branchline.deploy(repo)["url"]
    repo.commit(files=app(python_base, "two"))
    branchline.deploy(repo)
    failed = branchline.try_("rollback", "main", cwd=repo.path)
    assert failed.code == 1
    assert "exit code 5" in failed.err
    assert branchline.get(url).text == "two"


def test_a_branch_sleeps_and_wakes(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    branchline("sleep", "main", cwd=shop.path)
    assert [item["state"] for item in branchline.list(shop.path)] == ["sleeping"]
    assert branchline.get(url).status_code == 503
    branchline("wake", "main", cwd=shop.path)
    assert branchline.get(url).text == "main 1"
    branchline("sleep", "main", cwd=shop.path)
    shop.commit(files={"version": "main 2"})
    branchline.deploy(shop)
    assert branchline.get(url).text == "main 2"
