"""Whoever tells people never holds the work up, whatever becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError
from branchline.events import DeployStarted, Event, Note, Ready
from branchline.notifiers.dispatch import Dispatch
from branchline.notifiers.slack import Slack
from branchline.telling import About
from tests.slack import SlackStandIn

LOGIN = EnvironmentId("local", "shop", "feature/login")
LIVE = Ready(LOGIN, "http://feature-login--shop.localhost", "4a21", 1, {"total": 4.2}, first=True)


@dataclass
class Listener:
    """Hears, and does what it is made for."""

    name: str = "one"
    react: Callable[[Event], None] = lambda _: None
    heard: list[tuple[Event, About]] = field(default_factory=list)

    def hear(self, event: Event, about: About) -> None:
        self.heard.append((event, about))
        self.react(event)


def failing(error: Exception) -> Callable[[Event], None]:
    def react(_: Event) -> None:
        raise error

    return react


def test_everybody_hears_every_event_in_its_order() -> None:
    listeners = [Listener("one"), Listener("two")]
    events = [DeployStarted(LOGIN, "4a21", 1), *(Note(LOGIN, str(n)) for n in range(100)), LIVE]
    about, better = About(commit="4a21"), About(commit="4a21", author="Ada")
    dispatch = Dispatch(listeners, about)
    for event in events:
        dispatch.publish(event, better if event is LIVE else None)
    assert dispatch.finish() == []
    for listener in listeners:
        assert [event for event, _ in listener.heard] == events
        assert [said for _, said in listener.heard] == [about] * 101 + [better]


def test_one_that_fails_is_told_of_in_one_line_and_goes_on_hearing() -> None:
    refused = Listener("slack", failing(BranchlineError("it refuses:\nno_service", remedy="make a new one")))
    broken, sound = Listener("odd", failing(ValueError("token xoxb"))), Listener("sound")
    dispatch = Dispatch([refused, broken, sound], About())
    for _ in range(3):
        dispatch.publish(LIVE)
    assert dispatch.finish() == [
        "slack: it refuses: no_service; make a new one",
        "odd: a defect, please report it: ValueError",
    ]
    assert len(refused.heard) == len(broken.heard) == len(sound.heard) == 3


def test_slow_ones_are_waited_for_together_and_not_for_long() -> None:
    released = threading.Event()

    def wait(_: Event) -> None:
        released.wait(20)

    slow = [Listener(str(number), wait) for number in range(5)]
    quick = Listener("quick")
    dispatch = Dispatch([*slow, quick], About())
    begun = time.monotonic()
    dispatch.publish(LIVE)
    assert time.monotonic() - begun < 0.2
    lines = dispatch.finish(0.3)
    assert time.monotonic() - begun < 1
    released.set()
    assert lines == [f"{number}: still not told, and not waited for any longer" for number in range(5)]
    assert len(quick.heard) == 1


def test_a_slack_that_takes_the_message_and_never_answers_is_left_to_itself() -> None:
    with SlackStandIn() as slack:
        slack.delay = 20
        dispatch = Dispatch([Slack(slack.webhook)], About())
        dispatch.publish(LIVE)
        begun = time.monotonic()
        assert dispatch.finish(0.5) == ["slack: still not told, and not waited for any longer"]
        assert time.monotonic() - begun < 1


def test_without_events_there_is_nothing_to_wait_for() -> None:
    assert Dispatch([Listener()], About()).finish() == []
