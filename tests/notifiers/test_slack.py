"""What Slack gets: one message a fact, which cannot be read as anything but what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, ConfigurationError
from branchline.events import DeployStarted, Event, Failed, Note, Output, Ready, Removed
from branchline.notifiers.bookmarks import FileBookmarks
from branchline.notifiers.facts import worth_telling
from branchline.notifiers.slack import Slack
from branchline.notifiers.slack_messages import message
from branchline.telling import About
from tests.slack import CHANNEL, PATH, TOKEN, SlackStandIn, check, shown

LOGIN = EnvironmentId("local", "shop", "feature/login")
COMMIT = "4a21e1b1c2d3" + "0" * 28
URL = "http://feature-login--shop.localhost:8080"
ABOUT = About(
    "https://git.example.com/team/shop.git",
    COMMIT,
    "Ada",
    "Ada@example.com",
    "Log in by e-mail",
    "https://ci.example.com/1",
)
LIVE = Ready(LOGIN, URL, COMMIT, 1, {"total": 43.2}, first=True)
FAILED = Failed(LOGIN, COMMIT, "the container exited with exit code 7", ("starting", "no database here"))
REMOVED = Removed(LOGIN, ("container", "network"), "its branch is gone")


def bot(slack: SlackStandIn, kept: Path | None = None, **more: Any) -> Slack:
    bookmarks = FileBookmarks(kept) if kept else None
    return Slack(token=TOKEN, channel=CHANNEL, api=slack.api, bookmarks=bookmarks, **more)


def test_a_branch_is_announced_once_it_is_live() -> None:
    with SlackStandIn() as slack:
        Slack(slack.webhook).hear(LIVE, ABOUT)
        assert slack.texts == [f"feature/login is live: {URL}\nshop · 4a21e1b1c2d3 Log in by e-mail · Ada · 43 s · log"]
        (sent,) = slack.messages
        assert sent["text"] == f"feature/login is live: {URL}"
        assert sent["unfurl_links"] is False


def test_a_failure_is_told_with_its_reason_and_last_lines_to_whoever_wrote_the_commit() -> None:
    with SlackStandIn() as slack:
        Slack(slack.webhook, people={"ADA@Example.com": "U012AB3CD"}).hear(FAILED, ABOUT)
        assert slack.texts == [
            "feature/login failed to deploy: the container exited with exit code 7 @U012AB3CD\n"
            "```\nstarting\nno database here\n```\n"
            "shop · 4a21e1b1c2d3 Log in by e-mail · Ada · log"
        ]


def test_nobody_is_mentioned_who_is_not_in_the_mapping_or_for_good_news() -> None:
    with SlackStandIn() as slack:
        told = Slack(slack.webhook, people={"grace@example.com": "U012AB3CD"})
        told.hear(FAILED, ABOUT)
        told.hear(FAILED, About())
        Slack(slack.webhook, people={"ada@example.com": "U012AB3CD"}).hear(LIVE, ABOUT)
        assert not any("@U012AB3CD" in text for text in slack.texts)


def test_a_removal_says_why() -> None:
    with SlackStandIn() as slack:
        Slack(slack.webhook).hear(REMOVED, About())
        assert slack.texts == ["feature/login is removed: its branch is gone\nshop"]


@pytest.mark.parametrize(
    "event",
    [
        DeployStarted(LOGIN, COMMIT, 1),
        Note(LOGIN, "port 8000", warning=True),
        Output(LOGIN, "compiling"),
        Ready(LOGIN, URL, COMMIT, 2, {"total": 4.0}),
        Ready(LOGIN, URL, COMMIT, 1, {"total": 4.0}, first=True, unchanged=True),
        Failed(LOGIN, COMMIT, "again", repeated=True),
        Removed(LOGIN, ()),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_else_is_told(event: Event) -> None:
    with SlackStandIn() as slack:
        Slack(slack.webhook).hear(event, ABOUT)
        assert slack.requests == 0


MISCHIEF = [
    "<!channel>", "@here", "<@U012AB3CD>", "*x*", "`x`", "```", "_x_", "~x~", "a&b", "a&amp;b", ":tada:", "<https://a|b>",
    "> quoted", "\x1b[31mred", "a\u202eb", "\udcff", "x" * 300, "🚀" * 200, "https://evil.example.com",
]  # fmt: skip


@pytest.mark.parametrize("text", MISCHIEF)
def test_names_and_output_that_look_like_formatting_stay_text(text: str) -> None:
    environment = EnvironmentId("local", "shop", text)
    about = About(commit=COMMIT, author=text, email=text, title=text, logs=text)
    with SlackStandIn() as slack:
        told = Slack(slack.webhook)
        told.hear(Ready(environment, URL, COMMIT, 1, {"total": 4.2}, first=True), about)
        told.hear(Failed(environment, COMMIT, text, (text, "")), about)
        told.hear(Removed(environment, ("container",), text), about)
        assert slack.refused == []
        assert len(slack.messages) == 3
        assert all(kind in ("text", "link") for sent in slack.messages for kind in kinds(sent))


def kinds(sent: dict[str, Any]) -> list[str]:
    """What the message's elements are."""
    return [each["type"] for block in sent["blocks"] for part in block["elements"] for each in part["elements"]]


@given(
    branch=st.text(st.characters(codec="utf-8", exclude_characters="\n\0 "), min_size=1),
    text=st.text(),
    lines=st.lists(st.text()),
)
@example("\N{IDEOGRAPHIC SPACE}", "\N{IDEOGRAPHIC SPACE}", ["\N{IDEOGRAPHIC SPACE}"])
@example("\udcff", "", [])
@settings(max_examples=80, deadline=None)
def test_every_text_makes_a_message_that_slack_takes(branch: str, text: str, lines: list[str]) -> None:
    environment = EnvironmentId("local", "shop", branch)
    about = About(commit=COMMIT, author=text, email=text, title=text, logs=text)
    for event in (
        Ready(environment, URL, COMMIT, 1, {"total": 4.2}, first=True),
        Failed(environment, COMMIT, text, tuple(lines)),
        Removed(environment, ("container",), text),
    ):
        fact = worth_telling(event, about)
        assert fact is not None
        sent = message(fact, "U012AB3CD" if fact.kind == "failed" else "")
        check(json.loads(json.dumps(sent)))
        assert kinds(sent).count("user") == (1 if fact.kind == "failed" else 0)


def test_long_output_is_cut_to_its_last_lines() -> None:
    fact = worth_telling(Failed(LOGIN, COMMIT, "r" * 9000, tuple(f"{n} {'x' * 90}" for n in range(1000))), ABOUT)
    assert fact is not None
    sent = message(fact)
    check(sent)
    lines = shown(sent).splitlines()
    assert lines[0].endswith("rr…")
    assert lines[2] == "…"
    assert lines[-3].startswith("999 ")
    assert 15 < len(lines) < 30


def test_with_a_bot_a_branchs_messages_are_one_thread_until_it_is_removed(tmp_path: Path) -> None:
    other = EnvironmentId("local", "shop", "main")
    with SlackStandIn() as slack:
        for event in (FAILED, Ready(other, URL, COMMIT, 1, {"total": 1}, first=True), LIVE, REMOVED, LIVE):
            bot(slack, tmp_path / "bookmarks").hear(event, ABOUT)
        failed, of_other, live, removed, again = slack.messages
        assert "thread_ts" not in failed
        assert "thread_ts" not in of_other
        assert (live["thread_ts"], live["reply_broadcast"]) == (failed["ts"], True)
        assert (removed["thread_ts"], removed["reply_broadcast"]) == (failed["ts"], False)
        assert "thread_ts" not in again, "a branch that comes back starts anew"
        assert slack.refused == []


def test_a_thread_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    with SlackStandIn() as slack:
        told = bot(slack, tmp_path)
        told.hear(LIVE, ABOUT)
        slack.forget(slack.messages[0]["ts"])
        told.hear(FAILED, ABOUT)
        told.hear(FAILED, ABOUT)
        anew, reply = slack.messages
        assert "thread_ts" not in anew
        assert reply["thread_ts"] == anew["ts"]


def test_a_thread_is_not_looked_for_in_another_channel(tmp_path: Path) -> None:
    with SlackStandIn() as slack:
        FileBookmarks(tmp_path).write(LOGIN, "slack-thread", "C0ELSE 1700000000.000001")
        bot(slack, tmp_path).hear(FAILED, ABOUT)
        assert "thread_ts" not in slack.messages[0]


def test_a_removal_that_could_not_be_told_still_ends_the_thread(tmp_path: Path) -> None:
    with SlackStandIn() as slack:
        told = bot(slack, tmp_path)
        told.hear(LIVE, ABOUT)
        slack.channel_error = "is_archived"
        with pytest.raises(BranchlineError, match="the channel is archived"):
            told.hear(REMOVED, ABOUT)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [("not_in_channel", "the bot is not in the channel"), ("missing_scope", "chat:write"), ("fatal_error", "")],
)
def test_what_the_bot_is_refused_for_is_said_in_words(code: str, words: str) -> None:
    with SlackStandIn() as slack:
        slack.channel_error = code
        with pytest.raises(BranchlineError, match=f"Slack refuses: {code}.*{words}") as raised:
            bot(slack).hear(LIVE, ABOUT)
        assert TOKEN not in str(raised.value) + raised.value.remedy


def test_a_wrong_token_and_a_wrong_channel_are_told_apart() -> None:
    with SlackStandIn() as slack:
        with pytest.raises(BranchlineError, match=r"invalid_auth, the token is not valid"):
            Slack(token="xoxb-other", channel=CHANNEL, api=slack.api).hear(LIVE, ABOUT)
        with pytest.raises(BranchlineError, match=r"channel_not_found, the bot knows no such channel"):
            Slack(token=TOKEN, channel="C0ELSE", api=slack.api).hear(LIVE, ABOUT)
        assert slack.messages == []


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [("no_service", 404, "there is no such webhook"), ("channel_is_archived", 410, "archived"),
     ("action_prohibited", 403, "the workspace doesn't allow it")],
)  # fmt: skip
def test_what_a_webhook_is_refused_for_is_said_in_words_and_without_its_address(
    code: str, status: int, words: str
) -> None:
    with SlackStandIn() as slack:
        slack.channel_error = code
        with pytest.raises(BranchlineError, match=f"^{slack.url} answers {status}: {code}, .*{words}") as raised:
            Slack(slack.webhook).hear(LIVE, ABOUT)
        assert PATH not in str(raised.value) + raised.value.remedy


def test_a_page_in_place_of_slacks_word_is_not_repeated() -> None:
    with SlackStandIn() as slack:
        slack.answers = [(404, f"<html>no {PATH}</html>", {})]
        with pytest.raises(BranchlineError, match=f"^{slack.url} answers 404$"):
            Slack(slack.webhook).hear(LIVE, ABOUT)


def test_a_rate_limit_is_waited_for() -> None:
    limited = 429, '{"ok":false,"error":"ratelimited"}', {"Retry-After": "0"}
    with SlackStandIn() as slack:
        slack.answers = [limited]
        bot(slack).hear(LIVE, ABOUT)
        slack.answers = [limited]
        Slack(slack.webhook).hear(LIVE, ABOUT)
        assert len(slack.messages) == 2
        assert slack.requests == 4


def test_what_slack_may_have_taken_is_not_sent_again() -> None:
    with SlackStandIn() as slack:
        slack.answers = [(500, "rollup_error", {})]
        with pytest.raises(BranchlineError, match="answers 500"):
            Slack(slack.webhook).hear(LIVE, ABOUT)
        assert slack.requests == 1


def test_an_answer_that_is_not_slacks_is_an_error() -> None:
    with SlackStandIn() as slack:
        slack.answers = [(200, "<html>", {}), (200, "[]", {})]
        for reason in ("not JSON", "Slack refuses"):
            with pytest.raises(BranchlineError, match=reason):
                bot(slack).hear(LIVE, ABOUT)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "neither a token nor a webhook"),
        ({"channel": CHANNEL}, "neither a token nor a webhook"),
        ({"token": TOKEN}, "not slack.channel"),
        ({"webhook": "hooks.slack.com/secret"}, "slack.webhook is no URL"),
        ({"webhook": f"https://hooks.slack.com{PATH}", "people": {"ada@example.com": "@ada"}}, "'@ada'"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as raised:
        Slack(**fields)
    assert "secret" not in raised.value.message + raised.value.remedy
    assert raised.value.remedy


def test_no_secret_is_in_its_representation() -> None:
    made = Slack(f"https://hooks.slack.com{PATH}", TOKEN, CHANNEL)
    assert TOKEN not in repr(made)
    assert PATH not in repr(made)
