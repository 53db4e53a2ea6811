"""What a command does for those who are to hear of it, and what becomes of it where they can't be told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from branchline import platform
from branchline.cli.announcing import announcing, job_log
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError, EngineError
from branchline.events import Event, Ready, Removed
from branchline.settings.platform import PlatformSettings, Slack
from branchline.telling import About
from tests.repositories import Repo
from tests.slack import SlackStandIn

LOGIN = EnvironmentId("local", "shop", "feature/login")
LIVE = Ready(LOGIN, "http://login.localhost", "4a21", 1, {"total": 4.2}, first=True)


def telling(webhook: str, tmp_path: Path) -> PlatformSettings:
    return PlatformSettings(state_dir=str(tmp_path), slack=Slack(webhook=webhook))


def nothing_known() -> dict[EnvironmentId, About]:
    raise EngineError("the engine doesn't answer")


def test_events_go_to_whoever_watches_and_to_whoever_is_told(tmp_path: Path) -> None:
    shown: list[Event] = []
    with SlackStandIn() as slack, announcing(telling(slack.webhook, tmp_path)) as told:
        publish = told.listening(shown.append, lambda: {LOGIN: About(author="Ada")})
        publish(LIVE)
    assert shown == [LIVE]
    assert slack.texts == ["feature/login is live: http://login.localhost\nshop · 4a21 · Ada · 4.2 s"]


def test_what_cannot_be_found_out_is_not_said(tmp_path: Path) -> None:
    with SlackStandIn() as slack, announcing(telling(slack.webhook, tmp_path)) as told:
        told.listening(lambda _: None, nothing_known)(LIVE)
    assert len(slack.texts) == 1


def test_the_works_own_failure_stays_the_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SlackStandIn() as slack:
        slack.channel_error = "no_service"
        with pytest.raises(EngineError), announcing(telling(slack.webhook, tmp_path)) as told:
            told.listening(lambda _: None, dict)(Removed(LOGIN, ("container",)))
            raise EngineError("the engine is gone")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"warning: slack: {slack.url} answers 404: no_service, there is no such webhook")
    assert err.count("\n") == 1


def test_who_interrupts_a_command_waits_for_a_second_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SlackStandIn() as slack:
        slack.delay = 20
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt), announcing(telling(slack.webhook, tmp_path)) as told:
            told.listening(lambda _: None, dict)(LIVE)
            raise KeyboardInterrupt
        assert time.monotonic() - begun < 2
    assert "slack: still not told" in capsys.readouterr().err


def test_where_nobody_is_to_be_told_nothing_is_loaded_started_or_asked() -> None:
    program = (
        "import sys, threading\n"
        "from branchline.cli.announcing import announcing\n"
        "from branchline.settings.platform import PlatformSettings\n"
        "with announcing(PlatformSettings()) as told:\n"
        "    assert told.listening(print, exit) is print and told.by_whom('destroy') == ''\n"
        "    assert threading.active_count() == 1\n"
        "print(*sys.modules)\n"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert [name for name in loaded if name.startswith(("branchline.notifiers", "branchline.web", "urllib3"))] == []


def test_ctrl_c_while_it_is_told_ends_the_waiting_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with announcing(telling(f"http://127.0.0.1:{silent.getsockname()[1]}/x", tmp_path)) as told:
            told.listening(lambda _: None, dict)(LIVE)
        assert time.monotonic() - begun < 3
    assert capsys.readouterr().err == "warning: slack: still not told, and not waited for any longer\n"


def test_settings_that_can_tell_nobody_are_an_error_before_anything_is_done(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "shop")
    repo.commit("The shop", {"Dockerfile": "FROM scratch\nEXPOSE 8000\n"})
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BRANCHLINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "branchline", "deploy"],
        cwd=repo.path,
        env=kept | {"BRANCHLINE_STATE_DIR": str(tmp_path / "state"), "BRANCHLINE_SLACK_TOKEN": "xoxb-secret"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "slack.token is set, but not slack.channel" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "slack",
    [Slack(webhook="hooks"), Slack(token="xoxb-1"), Slack(webhook="https://x.example", people={"a@b.example": "ada"})],
)
def test_the_function_on_aws_is_given_no_slack_that_cannot_work(slack: Slack) -> None:
    with pytest.raises(ConfigurationError, match=r"^slack\.|in slack\.people"):
        platform.told(PlatformSettings(slack=slack))


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, ""),
        (
            {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "team/shop", "GITHUB_RUN_ID": "7"},
            "https://github.com/team/shop/actions/runs/7",
        ),
        ({"GITHUB_SERVER_URL": "https://github.com"}, ""),
        ({"CI_JOB_URL": "https://gitlab.com/team/shop/-/jobs/7"}, "https://gitlab.com/team/shop/-/jobs/7"),
        ({"BUILD_URL": "https://jenkins.example.com/job/shop/7/"}, "https://jenkins.example.com/job/shop/7/"),
        ({"BITBUCKET_BUILD_NUMBER": "7"}, ""),
    ],
)
def test_the_ci_systems_say_where_their_log_is(environ: dict[str, str], url: str) -> None:
    assert job_log(environ) == url
