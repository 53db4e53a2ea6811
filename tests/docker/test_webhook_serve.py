"""A branch's way on one machine with a forge: it is told of each deploy, and says when the branch is gone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from tests.docker.conftest import Branchline
from tests.driver import free_port
from tests.forge_payloads import branch_deleted, sample, signed
from tests.forge_stand_ins.github import GitHubStandIn
from tests.repositories import Repo, git
from tests.waiting import eventually

LOGIN = "feature/login"


@contextmanager
def serving(branchline: Branchline, repo: Repo, **env: str) -> Iterator[str]:
    """The URL at which `webhook serve` listens while the block runs; it is stopped as systemd does it."""
    url = f"http://127.0.0.1:{env['BRANCHLINE_WEBHOOK_PORT']}"
    process = branchline.start("webhook", "serve", cwd=repo.path, env=env)
    try:
        eventually(lambda: _answers(url), "it listens", timeout=30)
        yield url
    finally:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, ""), err
    assert "Traceback" not in err
    assert " stopping\n" in err


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_branch_lives_and_goes_as_its_forge_says(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    dockerfile = f'FROM {tiny_base}\nCOPY w /w\nEXPOSE 8000\nCMD ["httpd", "-f", "-p", "8000", "-h", "/w"]\n'
    secrets = {"branchline.toml": 'env_files = [".env"]\n', ".gitignore": ".env\n"}
    repo = repository({"Dockerfile": dockerfile, "w/index.html": "hello", **secrets})
    (repo.path / ".env").write_text("TOKEN=not-for-strangers\n")
    repo.branch(LOGIN)
    port = free_port()
    with GitHubStandIn() as github:
        git(repo.path, "remote", "add", "origin", github.repository)
        github.commits.append(repo.head)
        github.open(7, LOGIN)
        env = {
            "BRANCHLINE_WEBHOOK_URL": f"http://127.0.0.1:{port}",
            "BRANCHLINE_WEBHOOK_PORT": str(port),
            "BRANCHLINE_GITHUB_URL": github.url,
            "BRANCHLINE_GITHUB_TOKEN": github.token,
        }

        deployed = branchline.deploy(repo, "--branch", LOGIN, env=env)
        name = f"{branchline.platform}/shop/{LOGIN}"
        assert github.states(name) == {repo.head: ["in_progress", "success"]}
        assert [status["state"] for status in github.statuses] == ["pending", "success"]
        (comment,) = github.comments(7)
        assert deployed["url"] in comment

        with serving(branchline, repo, **env) as url:
            tested = branchline("webhook", "test", cwd=repo.path, env=env)
            assert tested.out.startswith("✓ branchline webhook serve answers in ")
            assert f"✓ it is the platform {branchline.platform}\n✓ a wrong signature is refused\n" in tested.out
            made = branchline("webhook", "install", "--json", cwd=repo.path, env=env).json
            assert made == {"forge": "github", "url": f"{url}/webhooks/github", "outcome": "created"}
            assert github.hooks[0]["config"]["url"] == made["url"]
            secret = github.hooks[0]["config"]["secret"]
            event, payload = branch_deleted("github", LOGIN, github.repository)

            def delete(secret: str) -> httpx.Response:
                headers, body = signed("github", event, payload, secret)
                return httpx.post(made["url"], headers=headers, content=body)

            assert delete("guessed").status_code == 401
            # It is late: the forge has the branch again, and is asked three times.
            assert delete(secret).json()["removing"] == [LOGIN]
            eventually(lambda: github.asked("/git/ref/heads/") == 3, "the forge was asked", timeout=20)
            assert branchline.get(deployed["url"]).text == "hello"

            rotated = branchline("webhook", "secret", "rotate", "--json", cwd=repo.path, env=env).json
            assert rotated["outcome"] == "unchanged"  # but for the secret, which no forge tells
            assert github.hooks[0]["config"]["secret"] != secret

            refused = branchline.try_(
                "webhook", "secret", "rotate", cwd=repo.path, env=env | {"BRANCHLINE_GITHUB_TOKEN": "x"}
            )
            assert (refused.code, "the secret is a new one, but the webhook of" in refused.err) == (1, True)
            secret = github.hooks[0]["config"]["secret"]

            github.branches.remove(LOGIN)
            for _ in range(3):
                assert delete(secret).status_code == 202  # the secret of before is valid, too
            eventually(lambda: branchline.list(repo.path) == [], "the environment is gone", timeout=30)
            eventually(lambda: "removed" in github.comments(7)[0], "the pull request says so", timeout=10)
        assert len(github.comments(7)) == 1
        assert github.states(name)[repo.head][-1] == "inactive"
        assert github.wrong == []


def test_a_forks_commit_is_deployed_without_secrets_and_goes_with_its_pull_request(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    dockerfile = f'FROM {tiny_base}\nCOPY start /start\nEXPOSE 8000\nCMD ["sh", "/start"]\n'
    start = 'mkdir /w; env > /w/index.html; trap "exit 0" TERM; httpd -f -p 8000 -h /w & wait\n'
    toml = 'env_files = [".env"]\n[env]\nGREETING = "hello"\n[secrets]\nOTHER = "ssm:/other"\n'
    files = {"Dockerfile": dockerfile, "start": start, "branchline.toml": toml, ".gitignore": ".env\n"}
    repo = repository(files)
    (repo.path / ".env").write_text("TOKEN=not-for-strangers\n")
    git(repo.path, "remote", "add", "origin", "https://github.example/team/shop.git")
    arguments = ("--branch", "pull/7", "--commit", repo.head, "--without-secrets")
    url = branchline("deploy", *arguments, cwd=repo.path).out.strip()
    shown = branchline.get(url).text
    assert "GREETING=hello" in shown
    assert "TOKEN" not in shown

    port = free_port()
    with serving(branchline, repo, BRANCHLINE_WEBHOOK_PORT=str(port)) as listener:
        env = {"BRANCHLINE_WEBHOOK_PORT": str(port)}
        secret = branchline("webhook", "secret", "show", cwd=repo.path, env=env).out.strip()
        payload = sample("github", "fork_closed_after_its_deletion")
        payload["number"] = 7
        payload["repository"] |= {"clone_url": "https://github.example/team/shop.git", "ssh_url": None}
        headers, body = signed("github", "pull_request", payload, secret)
        answer = httpx.post(f"{listener}/webhooks/github", headers=headers, content=body)
        assert answer.json()["removing"] == ["pull/7"]
        eventually(lambda: branchline.list(repo.path) == [], "the environment is gone", timeout=30)


def test_what_is_wrong_with_a_webhook_is_said(branchline: Branchline, repository: Callable[..., Repo]) -> None:
    repo = repository({})
    unknown = branchline.try_("webhook", "install", cwd=repo.path)
    assert (unknown.code, "is on no forge that is known" in unknown.err) == (2, True)
    git(repo.path, "remote", "add", "origin", "git@github.com:team/shop.git")
    private = branchline.try_("webhook", "install", cwd=repo.path)
    assert (private.code, "webhook.url is not set" in private.err) == (2, True)
    pasted = branchline("webhook", "install", cwd=repo.path, env={"BRANCHLINE_WEBHOOK_URL": "https://hooks.example/"})
    assert "https://hooks.example/webhooks/github\n" in pasted.out
    assert branchline("webhook", "secret", "show", cwd=repo.path).out.strip() in pasted.out
    nobody = branchline.try_("webhook", "test", cwd=repo.path, env={"BRANCHLINE_WEBHOOK_PORT": str(free_port())})
    assert (nobody.code, "is 'branchline webhook serve' running?" in nobody.out) == (1, True)
    homeless = branchline.try_("webhook", "serve", cwd=repo.path, env={"BRANCHLINE_WEBHOOK_BIND": "no.such.invalid"})
    assert (homeless.code, "can't listen on no.such.invalid:8090: that is no address" in homeless.err) == (2, True)
    with GitHubStandIn() as github:  # it can't reach this machine, so it gets no webhook
        git(repo.path, "remote", "set-url", "origin", github.repository)
        env = {"BRANCHLINE_GITHUB_URL": github.url, "BRANCHLINE_GITHUB_TOKEN": github.token}
        assert branchline("webhook", "secret", "rotate", "--json", cwd=repo.path, env=env).json["outcome"] is None
        assert github.requests == []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        serve = branchline.try_("webhook", "serve", cwd=repo.path, env={"BRANCHLINE_WEBHOOK_PORT": port})
    assert (serve.code, f"can't listen on 127.0.0.1:{port}" in serve.err) == (2, True)
