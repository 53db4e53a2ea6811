"""What a team hears of a branch's life in Slack: one message a fact, and none per retry."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.docker.app import crashing
from tests.docker.conftest import Branchline
from tests.driver import free_port
from tests.repositories import Repo
from tests.slack import PATH, SlackStandIn


def test_slack_hears_of_a_branchs_life_and_is_not_needed_for_it(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    with (branchline.state / "platform.toml").open("a") as file:
        file.write('[slack.people]\n"ada@example.com" = "U012AB3CD"\n')
    sound = f'FROM {tiny_base}\nCOPY w /w\nEXPOSE 8000\nCMD ["httpd", "-f", "-p", "8000", "-h", "/w"]\n'
    repo = repository({"Dockerfile": sound, "w/index.html": "hello"})
    repo.branch("quiet")
    with SlackStandIn() as slack:
        env = {
            "BRANCHLINE_SLACK_WEBHOOK": slack.webhook,
            "CI_JOB_URL": "https://ci.example.com/7",
            "GITHUB_ACTOR": "ada",
        }
        deployed = branchline.deploy(repo, env=env)
        branchline.deploy(repo, env=env)
        (live,) = slack.texts
        url, commit = re.escape(deployed["url"]), deployed["commit"][:12]
        assert re.fullmatch(rf"main is live: {url}\nshop · {commit} First commit · Ada · [\d.]+ s · log", live)

        broken = repo.commit("Break it", crashing(tiny_base))
        for _ in range(2):
            assert branchline.try_("deploy", cwd=repo.path, env=env).code == 1
        (_, failed) = slack.texts
        assert failed.startswith("main failed to deploy: the container exited with exit code 7")
        assert failed.endswith(f"@U012AB3CD\n```\nno database here\n```\nshop · {broken[:12]} Break it · Ada · log")

        printing = f"FROM {tiny_base}\nRUN echo open-sesame; exit 3\n"
        repo.commit("Print it", {"Dockerfile": printing, "branchline.toml": 'env_files = [".env"]\n'})
        (repo.path / ".env").write_text("WORD=open-sesame\n")
        assert branchline.try_("deploy", cwd=repo.path, env=env).code == 1
        (_, _, printed) = slack.texts
        assert "RUN echo [secret]; exit 3: exit code 3 @U012AB3CD\n```\n[secret]\n```\n" in printed

        branchline("destroy", "main", cwd=repo.path, env=env)
        (_, _, _, removed) = slack.texts
        assert removed == f"main is removed: ada ran branchline destroy\nshop · {commit} · log"
        assert slack.refused == []

    gone = f"http://127.0.0.1:{free_port()}"
    result = branchline("deploy", "--branch", "quiet", cwd=repo.path, env={"BRANCHLINE_SLACK_WEBHOOK": f"{gone}{PATH}"})
    assert branchline.get(result.out.strip()).text == "hello"
    assert f"warning: slack: {gone} doesn't answer" in result.err
    assert PATH not in result.err
