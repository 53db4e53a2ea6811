"""What a developer who deploys gets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import docker
import pytest

from tests.docker.app import app, crashing
from tests.docker.conftest import Branchline
from tests.repositories import Repo, git
from tests.waiting import eventually

ENVIRONMENT_KEYS = {
    "platform", "project", "branch", "slug", "url", "host", "commit", "state", "reason", "created", "expires",
    "repository", "memory", "release", "previous", "pending", "failed",
}  # fmt: skip


def test_a_branch_gets_a_url_that_serves_its_commit(branchline: Branchline, shop: Repo) -> None:
    deployed = branchline.deploy(shop)
    assert set(deployed) == ENVIRONMENT_KEYS | {"seconds", "first", "unchanged"}
    assert deployed["url"] == f"http://main--shop.localhost:{branchline.port}"
    assert deployed["commit"] == shop.head
    assert deployed["state"] == "ready"
    assert deployed["first"] is True
    assert set(deployed["seconds"]) == {"build", "start", "healthy", "route", "total"}
    answer = branchline.get(deployed["url"])
    assert answer.text == "main 1"
    assert answer.headers["X-Robots-Tag"] == "noindex"


def test_branches_serve_side_by_side(branchline: Branchline, shop: Repo, python_base: str) -> None:
    shop.checkout("feature/login", create=True)
    shop.commit(files={"version": "login 1"})
    one, two = branchline.deploy(shop), branchline.deploy(shop, "--branch", "main")
    assert branchline.get(one["url"]).text == "login 1"
    assert branchline.get(two["url"]).text == "main 1"
    listed = {item["branch"]: item for item in branchline.list(shop.path)}
    assert set(listed) == {"main", "feature/login"}
    for item in listed.values():
        assert set(item) == ENVIRONMENT_KEYS
        assert item["state"] == "ready"
        assert item["memory"] > 1_000_000


def test_the_url_stays_the_same_and_no_request_fails_during_a_redeploy(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    shop.commit(files={"version": "main 2"})
    with branchline.load(url) as load:
        assert branchline.deploy(shop)["url"] == url
        eventually(lambda: load.answers.get("main 2", 0) > 50, "the new release answers")
    assert load.failures == []
    assert load.answers["main 1"] > 0


def test_a_slow_request_in_flight_is_answered_by_the_old_release(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    url = branchline.deploy(shop)["url"]
    shop.commit(files={"version": "main 2"})
    with branchline.load(url, "/slow?seconds=10", threads=1) as load:
        eventually(lambda: branchline.get(url, "/headers").status_code == 200, "the release answers")
        branchline.deploy(shop)
        assert branchline.get(url).text == "main 2"
    assert load.failures == []
    assert load.answers["main 1"] >= 1


def test_the_commits_tree_is_built_and_never_the_working_copy(branchline: Branchline, shop: Repo) -> None:
    shop.write({"version": "dirty", "secret.txt": "s"})
    url = branchline.deploy(shop)["url"]
    assert branchline.get(url).text == "main 1"


def test_git_data_never_gets_into_the_image(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(python_base, "x", more="COPY . /all/\nRUN ls -a /all > /app/version"))
    assert branchline.get(branchline.deploy(repo)["url"]).text.split() == [
        ".",
        "..",
        "Dockerfile",
        "server.py",
        "version",
    ]


def test_an_unchanged_deploy_changes_nothing(branchline: Branchline, shop: Repo, engine: docker.DockerClient) -> None:
    first = branchline.deploy(shop)
    again = branchline.deploy(shop)
    assert again["unchanged"] is True
    assert again["release"] == first["release"]
    assert len(containers(engine, branchline)) == 1
    forced = branchline.deploy(shop, "--force")
    assert forced["unchanged"] is False
    assert forced["release"]["number"] > first["release"]["number"]


def test_a_commit_that_was_built_is_not_built_again_for_another_branch(branchline: Branchline, shop: Repo) -> None:
    branchline.deploy(shop)
    shop.branch("other")
    result = branchline("deploy", "--branch", "other", cwd=shop.path)
    assert "image is there already" in result.err
    assert branchline.get(result.out.strip()).text == "main 1"


def test_an_older_commit_is_refused_unless_it_is_forced(branchline: Branchline, shop: Repo) -> None:
    old = shop.head
    new = shop.commit(files={"version": "main 2"})
    url = branchline.deploy(shop)["url"]
    refused = branchline.try_("deploy", "--commit", old, cwd=shop.path)
    assert refused.code == 0
    assert f"is older than {new[:12]}" in refused.err
    assert branchline.get(url).text == "main 2"
    assert branchline.deploy(shop, "--commit", old, "--force")["commit"] == old
    assert branchline.get(url).text == "main 1"


def test_a_bare_repository_and_a_url_can_be_deployed_from(branchline: Branchline, shop: Repo) -> None:
    origin = shop.add_origin()
    for location in (str(origin), origin.as_uri()):
        deployed = branchline("deploy", "--json", "--repo", location, "--branch", "main", cwd=branchline.state).json
        assert branchline.get(deployed["url"]).text == "main 1"
        assert deployed["project"] == "shop"
    shop.commit(files={"version": "main 2"})
    shop.push("main")
    deployed = branchline("deploy", "--json", "--repo", origin.as_uri(), "--branch", "main", cwd=branchline.state).json
    assert branchline.get(deployed["url"]).text == "main 2"


def test_an_image_that_was_built_elsewhere_is_run(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient, run_image: str
) -> None:
    deployed = branchline.deploy(shop, "--image", run_image)
    assert branchline.get(deployed["url"]).text == "from elsewhere"
    branchline("destroy", "main", cwd=shop.path)
    assert engine.images.get(run_image), "an image that isn't ours was removed"
    outside = branchline(
        "deploy", "--json", "--image", run_image, "--project", "shop", "--branch", "b", "--commit", "abc123",
        cwd=branchline.state,
    ).json  # fmt: skip
    assert branchline.get(outside["url"]).text == "from elsewhere"


@pytest.fixture
def run_image(
    engine: docker.DockerClient, python_base: str, run: object, tmp_path_factory: pytest.TempPathFactory
) -> object:
    """An image as a CI system would have built it."""
    directory = tmp_path_factory.mktemp("elsewhere")
    for name, text in app(python_base, "from elsewhere").items():
        (directory / name).write_text(text)
    name = f"{python_base.partition('/')[0]}/elsewhere:1"
    engine.images.build(path=str(directory), tag=name, rm=True)
    yield name
    engine.images.remove(name, force=True)


def test_the_current_and_the_previous_image_are_kept_and_no_other(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    commits = [shop.head]
    branchline.deploy(shop)
    for number in (2, 3, 4):
        commits.append(shop.commit(files={"version": f"main {number}"}))
        branchline.deploy(shop)
    repository_name = f"branchline.{branchline.platform}/shop"
    tags = {tag for image in engine.images.list(repository_name) for tag in image.tags}
    assert tags == {f"{repository_name}:{commit}" for commit in commits[-2:]}
    assert len(containers(engine, branchline)) == 2


def test_the_classic_builder_does_as_well(branchline: Branchline, shop: Repo) -> None:
    classic = {"BRANCHLINE_DOCKER_BUILDER": "classic"}
    url = branchline.deploy(shop, env=classic)["url"]
    assert branchline.get(url).text == "main 1"
    shop.commit(files=app("nowhere", "x") | {"Dockerfile": "FROM scratch\nRUN nothing\n"})
    failed = branchline.try_("deploy", cwd=shop.path, env=classic)
    assert failed.code == 1
    assert "Step 2/" in failed.err


def test_a_failed_build_shows_the_step_and_its_output_and_the_old_release_serves(
    branchline: Branchline, shop: Repo, python_base: str
) -> None:
    url = branchline.deploy(shop)["url"]
    bad = shop.commit(files=app(python_base, "main 2", more="RUN echo compiling && echo the reason >&2 && exit 9"))
    failed = branchline.try_("deploy", cwd=shop.path)
    assert failed.code == 1
    assert "RUN echo compiling && echo the reason >&2 && exit 9: exit code 9" in failed.err
    assert "| the reason" in failed.err
    assert branchline.get(url).text == "main 1"
    shown = branchline("show", "--json", "main", cwd=shop.path).json
    assert shown["state"] == "ready"
    assert shown["failed"]["commit"] == bad
    assert "exit code 9" in shown["failed"]["failure"]


def test_a_failed_first_deploy_is_on_record_until_one_succeeds(
    branchline: Branchline,
    tiny_base: str,
    python_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
) -> None:
    repo = repository(crashing(tiny_base))
    failed = branchline.try_("deploy", "--json", cwd=repo.path)
    assert failed.code == 1
    assert failed.json["exit_code"] == 1
    assert "exited with exit code 7" in failed.json["error"]
    assert failed.json["details"] == ["no database here"]
    (listed,) = branchline.list(repo.path)
    assert listed["state"] == "failed"
    assert "exit code 7" in listed["reason"]
    assert branchline.get(listed["url"]).status_code == 503
    assert containers(engine, branchline) == []
    repo.commit(files=app(python_base, "works"))
    branchline.deploy(repo)
    (listed,) = branchline.list(repo.path)
    assert listed["state"] == "ready"
    assert listed["failed"] is None


def test_the_settings_of_the_commit_decide(branchline: Branchline, shop: Repo) -> None:
    shop.commit(
        files={
            "branchline.toml": 'project = "store"\nport = 8123\nenv_files = [".env"]\n[env]\nGREETING = "hello"\n'
            '[health]\npath = "/headers"\n[limits]\nmemory = "96m"\npids = 50\n',
            "Dockerfile": (shop.path / "Dockerfile").read_text().replace("8000", "8123"),
            ".gitignore": ".env\n",
        }
    )
    shop.write({".env": "TOKEN=correct-horse\n"})
    deployed = branchline.deploy(shop)
    assert deployed["host"] == "main--store.localhost"
    env = json.loads(branchline.get(deployed["url"], "/env").text)
    assert env["GREETING"] == "hello"
    assert env["TOKEN"] == "correct-horse"
    assert env["PORT"] == "8123"
    assert env["BRANCHLINE_URL"] == deployed["url"]
    assert env["BRANCHLINE_COMMIT"] == shop.head
    assert env["BRANCHLINE_BRANCH"] == "main"


def test_secrets_are_in_no_label_log_or_message(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], engine: docker.DockerClient
) -> None:
    secret = "correct-horse-battery"
    repo = repository(
        {
            "Dockerfile": f'FROM {tiny_base}\nEXPOSE 80\nCMD ["sh", "-c", "echo my password is $PASSWORD; exit 4"]\n',
            "branchline.toml": 'env_files = [".env"]\n',
            ".gitignore": ".env",
        }
    )
    repo.write({".env": f"PASSWORD={secret}\n"})
    failed = branchline.try_("deploy", "--json", cwd=repo.path)
    assert failed.json["details"] == ["my password is [secret]"]
    plain = branchline.try_("deploy", cwd=repo.path)
    assert "my password is [secret]" in plain.err
    shown = branchline("show", "--json", "main", cwd=repo.path).out
    volumes = json.dumps(engine.api.volumes(filters={"label": f"branchline:platform={branchline.platform}"}))
    assert secret not in failed.out + failed.err + plain.out + plain.err + shown + volumes


def test_the_slow_image_can_be_given_a_time_limit(
    branchline: Branchline, shop: Repo, tiny_base: str, engine: docker.DockerClient
) -> None:
    url = branchline.deploy(shop)["url"]
    shop.commit(files={"Dockerfile": f"FROM {tiny_base}\nRUN sleep 60\nEXPOSE 80\n"})
    failed = branchline.try_("deploy", "--timeout", "2", cwd=shop.path, timeout=20)
    assert failed.code == 1
    assert "not done within 2 seconds" in failed.err
    assert branchline.get(url).text == "main 1"
    assert len(containers(engine, branchline)) == 1


def test_a_branch_that_the_patterns_leave_out_gets_nothing(branchline: Branchline, shop: Repo) -> None:
    shop.commit(files={"branchline.toml": '[branches]\ninclude = ["feature/*"]\nexclude = ["*-wip"]\n'})
    refused = branchline.try_("deploy", cwd=shop.path)
    assert refused.code == 2
    assert "main gets no environment" in refused.err
    shop.checkout("feature/x", create=True)
    branchline.deploy(shop)
    shop.checkout("feature/y-wip", create=True)
    assert branchline.try_("deploy", cwd=shop.path).code == 2


def test_strange_branch_names_get_urls_of_their_own(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    names = ["Feature/Login", "feature/login", "feature-login", "1.0", "ünïcode", "🚀", "a--b", "x" * 200, "a&b;c'd"]
    repo = repository(
        {"Dockerfile": f'FROM {tiny_base}\nCOPY w /w\nEXPOSE 80\nCMD ["httpd", "-f", "-h", "/w"]\n', "w/index.html": ""}
    )
    urls = {}
    for name in names:
        git(repo.path, "checkout", "--quiet", "-b", name)
        repo.commit(files={"w/index.html": f"this is {name}"})
        urls[name] = branchline.deploy(repo)["url"]
    assert len(set(urls.values())) == len(names)
    for name, url in urls.items():
        assert re.fullmatch(r"http://[a-z0-9-]{1,63}\.localhost:\d+", url)
        assert branchline.get(url).text == f"this is {name}"
    assert {item["branch"] for item in branchline.list(repo.path)} == set(names)
    for name in names:
        branchline("destroy", name, cwd=repo.path)
    assert branchline.list(repo.path) == []


def test_the_output_is_the_url_and_progress_is_on_standard_error(branchline: Branchline, shop: Repo) -> None:
    result = branchline("deploy", cwd=shop.path)
    assert result.out == f"http://main--shop.localhost:{branchline.port}\n"
    for word in ("build", "start", "healthy", "route", "port 8000: EXPOSE in the Dockerfile", "ready in"):
        assert word in result.err


def containers(engine: docker.DockerClient, branchline: Branchline) -> list[str]:
    """The platform's containers, stopped ones included."""
    found = engine.api.containers(all=True, filters={"label": f"branchline:platform={branchline.platform}"})
    return [item["Names"][0] for item in found]


def test_a_clone_that_lacks_the_commit_that_serves_says_so(branchline: Branchline, shop: Repo) -> None:
    old = shop.head
    origin = shop.add_origin()
    new = shop.commit(files={"version": "main 2"})
    branchline.deploy(shop)
    result = branchline("deploy", "--repo", str(origin), "--branch", "main", "--project", "shop", cwd=branchline.state)
    assert f"warning: {new[:12]}, which serves, is not in this clone" in result.err
    assert branchline.list(shop.path)[0]["commit"] == old


def test_a_secret_by_reference_without_a_value_is_warned_of(branchline: Branchline, shop: Repo) -> None:
    shop.commit("Secrets", {"branchline.toml": '[secrets]\nTOKEN = "ssm:/shop/token"\n'})
    assert "TOKEN is not set" in branchline("deploy", cwd=shop.path).err
    (shop.path / ".env").write_text("TOKEN=hidden\n")
    shop.commit("And a value", {"branchline.toml": 'env_files = [".env"]\n[secrets]\nTOKEN = "ssm:/shop/token"\n'})
    assert "TOKEN is not set" not in branchline("deploy", cwd=shop.path).err
