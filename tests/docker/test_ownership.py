"""What is ours and what isn't, where the two are easily mistaken; and time that runs out."""

from __future__ import annotations

import docker
import httpx

from tests import leftovers
from tests.docker.app import app
from tests.docker.conftest import Branchline
from tests.repositories import Repo, git


def test_a_container_and_images_that_somebody_made_from_ours_are_left_alone(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient, tiny_base: str
) -> None:
    url = branchline.deploy(shop)["url"]
    ours = f"branchline.{branchline.platform}/shop:{shop.head}"
    kept = f"{tiny_base.partition('/')[0]}/kept:mine"
    engine.images.get(ours).tag(kept)
    stranger = engine.containers.run(ours, ["sleep", "600"], detach=True)
    try:
        assert "nothing to remove" in branchline("reap", cwd=shop.path).out
        assert len(branchline.list(shop.path)) == 1
        assert branchline.get(url).text == "main 1"
        branchline("destroy", "main", cwd=shop.path)
        stranger.reload()
        assert stranger.status == "running"
        assert engine.images.get(kept)
    finally:
        stranger.remove(force=True)
        engine.images.remove(kept)
        for image in engine.images.list(filters={"label": f"branchline:platform={branchline.platform}"}):
            leftovers.remove_image(engine, str(image.id))


def test_deploying_again_renews_the_time_that_an_environment_has(branchline: Branchline, shop: Repo) -> None:
    short, long = {"BRANCHLINE_LIFETIME": "0.0001"}, {"BRANCHLINE_LIFETIME": "24"}
    branchline.deploy(shop, env=short)
    renewed = branchline.deploy(shop, env=long)
    assert renewed["unchanged"] is False
    assert branchline.deploy(shop, env=long)["unchanged"] is True
    assert "nothing to remove" in branchline("reap", cwd=shop.path, env=long).out
    assert branchline.deploy(shop)["expires"] is None


def test_after_a_force_push_the_commit_that_is_gone_replaces_nothing(branchline: Branchline, shop: Repo) -> None:
    shop.add_origin()
    dropped = shop.commit(files={"version": "dropped"})
    shop.push("main")
    clone = shop.path.with_name("ci")
    git(shop.path, "clone", "--quiet", str(shop.origin), str(clone))
    git(clone, "checkout", "--quiet", "--detach", dropped)
    git(clone, "branch", "--quiet", "-D", "main")
    git(shop.path, "reset", "--quiet", "--hard", "HEAD~1")
    kept = shop.commit(files={"version": "kept"})
    shop.push("main", force=True)
    url = branchline.deploy(shop)["url"]
    late = branchline.try_("deploy", "--branch", "main", "--commit", dropped, "--project", "shop", cwd=clone)
    assert late.code == 0
    assert f"is older than {kept[:12]}, which serves" in late.err
    assert branchline.get(url).text == "kept"


def test_a_wake_that_fails_leaves_the_branch_asleep(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    branchline("sleep", "main", cwd=shop.path)
    assert branchline.try_("wake", "--timeout", "0.001", "main", cwd=shop.path).code == 1
    assert branchline.list(shop.path)[0]["state"] == "sleeping"
    assert branchline.get(url).status_code == 503
    branchline("wake", "main", cwd=shop.path)
    assert branchline.get(url).text == "main 1"


def test_a_failed_deploy_of_another_project_does_not_take_a_host(
    branchline: Branchline, shop: Repo, tiny_base: str
) -> None:
    single = {"BRANCHLINE_HOSTS": "{slug}"}
    shop.commit(files={"Dockerfile": f'FROM {tiny_base}\nEXPOSE 80\nCMD ["false"]\n'})
    assert branchline.try_("deploy", "--project", "first", cwd=shop.path, env=single).code == 1
    refused = branchline.try_("deploy", "--project", "second", cwd=shop.path, env=single)
    assert refused.code == 2
    assert "belongs to the branch main of first" in refused.err


def test_twenty_nine_releases_later_the_address_is_still_free(
    branchline: Branchline, shop: Repo, python_base: str, engine: docker.DockerClient
) -> None:
    url = branchline.deploy(shop)["url"]
    (running,) = engine.containers.list(filters={"label": f"branchline:platform={branchline.platform}"})
    record = {name: text for name, text in running.labels.items() if name.startswith("branchline:")}
    record |= {"branchline:release": "29", "branchline:state": "failed"}
    engine.volumes.create(f"branchline.{branchline.platform}.shop.main.29.failed", labels=record)
    shop.commit(files=app(python_base, "main 30"))
    assert branchline.deploy(shop)["release"]["number"] == 30
    assert branchline.get(url).text == "main 30"
    assert httpx.URL(url).host == "main--shop.localhost"


def test_a_rollback_that_fails_shows_no_secret(branchline: Branchline, shop: Repo, python_base: str) -> None:
    once = (
        "[ -e /ran ] && echo the password is $PASSWORD && exit 5; touch /ran; exec python3 /app/server.py 0.0.0.0 8000"
    )
    secret = {"branchline.toml": 'env_files = [".env"]\n', ".gitignore": ".env\n"}
    shop.write({".env": "PASSWORD=correct-horse\n"})
    shop.commit(files=app(python_base, "one", more=f'ENTRYPOINT ["sh", "-c", "{once}"]') | secret)
    branchline.deploy(shop)
    shop.commit(files=app(python_base, "two"))
    branchline.deploy(shop)
    failed = branchline.try_("rollback", "main", "--json", cwd=shop.path)
    assert failed.code == 1
    assert "the password is [secret]" in failed.json["details"]  # among the last lines
    assert "correct-horse" not in failed.out + failed.err
    assert "correct-horse" not in failed.out + failed.err
