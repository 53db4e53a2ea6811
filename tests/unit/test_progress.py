"""What a deploy looks like while it goes on and once it is over, on a real terminal and without one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from branchline.cli.progress import progress, seconds
from branchline.environment import EnvironmentId
from branchline.errors import BuildError, SupersededError
from branchline.events import (
    DeployStarted,
    Event,
    Note,
    Output,
    Phase,
    PhaseFinished,
    PhaseStarted,
    Ready,
    Removed,
    Waiting,
)
from tests.terminals import Terminal, terminal

SHOP = EnvironmentId("local", "shop", "feature/login")
URL = "http://feature-login--shop.localhost:8080"

STORY = """
import signal
from branchline.cli.output import url
from branchline.cli.progress import progress
from branchline.environment import EnvironmentId
from branchline.errors import BuildError, SupersededError
from branchline.events import *

shop = EnvironmentId("local", "shop", "feature/login")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

def phase(part, seconds, detail=""):
    publish(PhaseStarted(shop, part))
    publish(PhaseFinished(shop, part, seconds, detail))

def started():
    publish(DeployStarted(shop, "4a21e1b1c2d3" + "0" * 28, 3))

def ready(**more):
    publish(Ready(shop, "URL", "4a21", 3, {"total": 4.4}, **more))

def pause():
    signal.sigwait([signal.SIGUSR1])
"""


@contextmanager
def told(
    story: str, *, columns: int = 100, env: Mapping[str, str] | None = None, verbose: bool = False
) -> Iterator[Terminal]:
    """The story on a terminal; wherever it pauses, SIGUSR1 makes it go on."""
    indented = "\n".join(f"    {line}" for line in story.strip().splitlines())
    program = f"{STORY}\nwith progress(verbose={verbose}) as publish:\n{indented}\nurl('{URL}')\n"
    with terminal([sys.executable, "-c", program], cwd=Path("/"), env=env or {}, columns=columns) as shown:
        yield shown


DEPLOY = """
started()
publish(PhaseStarted(shop, Phase.BUILD))
publish(Output(shop, "  compiling module 4 of 6"))
pause()
publish(PhaseFinished(shop, Phase.BUILD, 3.12))
publish(Note(shop, "port 8000: EXPOSE in the Dockerfile"))
phase(Phase.START, 0.4)
phase(Phase.HEALTHY, 0.93, "HTTP / on port 8000")
phase(Phase.ROUTE, 0.02)
ready(first=True)
phase(Phase.RETIRE, 0.01)
"""
"""A first deploy that pauses during its build."""


def test_a_success_is_one_line_of_phases_and_the_url() -> None:
    with told(DEPLOY) as shown:
        shown.shows("compiling module 4 of 6")
        shown.process.send_signal(signal.SIGUSR1)
        assert shown.end() == 0
        assert shown.lines == [
            "  ✓ build 3.1s   ✓ start 0.4s   ✓ healthy 0.9s   ✓ route 0.02s",
            "    port 8000: EXPOSE in the Dockerfile",
            f"  {URL}",
        ]
        assert not shown.cursor_hidden


def test_while_it_builds_the_release_the_phase_and_the_latest_line_are_shown() -> None:
    with told(DEPLOY) as shown:
        shown.shows("compiling module 4 of 6")
        title, phase, line = shown.lines
        assert title == "  feature/login at 4a21e1b1c2d3, release 3"
        assert phase.strip()[1:].startswith(" build ")
        assert line == "    compiling module 4 of 6"


def test_a_redeploy_tells_of_the_old_release_too() -> None:
    with told("phase(Phase.ROUTE, 0.02)\nready()\npublish(PhaseStarted(shop, Phase.RETIRE))\npause()\n"
              "publish(PhaseFinished(shop, Phase.RETIRE, 9.8))") as shown:  # fmt: skip
        shown.shows("the new one serves; requests at the old one may finish")
        shown.process.send_signal(signal.SIGUSR1)
        assert shown.end() == 0
        assert "  ✓ route 0.02s   ✓ old release 9.8s" in shown.lines


def test_an_unchanged_deploy_says_only_that() -> None:
    with told(
        "started()\nphase(Phase.BUILD, 0.01, 'is there')\nready(unchanged=True)\nphase(Phase.RETIRE, 0)"
    ) as shown:
        assert shown.end() == 0
        assert shown.lines == ["  ✓ unchanged 4.4s", "    this release serves already", f"  {URL}"]


def test_a_failure_leaves_the_phase_that_failed_marked() -> None:
    with told("phase(Phase.BUILD, 1)\npublish(PhaseStarted(shop, Phase.START))\nraise BuildError('x')") as shown:
        assert shown.end() == 1
        assert shown.lines[0].startswith("  ✓ build 1.0s   ✗ start 0.")
        assert not shown.cursor_hidden


def test_work_that_is_not_wanted_any_more_is_no_failure() -> None:
    with told("publish(PhaseStarted(shop, Phase.BUILD))\nraise SupersededError('x')") as shown:
        shown.end()
        assert shown.lines[0].startswith("  - build 0.")


def test_an_error_before_any_phase_leaves_nothing_of_the_progress() -> None:
    with told(
        "publish(Waiting(shop, 'another deploy of this branch is running'))\npause()\nraise BuildError('x')"
    ) as shown:
        shown.shows("another deploy of this branch is running")
        shown.process.send_signal(signal.SIGUSR1)
        shown.end()
        assert shown.lines[0].startswith("Traceback")


def test_a_warning_stays_above_the_progress() -> None:
    with told("publish(Note(shop, 'the submodule x is not there', warning=True))\nphase(Phase.BUILD, 1)") as shown:
        assert shown.end() == 0
        assert shown.lines[:2] == ["  ! the submodule x is not there", "  ✓ build 1.0s"]


def test_verbose_keeps_every_line_of_the_build() -> None:
    lines = "".join(f"publish(Output(shop, 'line {number}'))\n" for number in range(5))
    with told(
        f"publish(PhaseStarted(shop, Phase.BUILD))\n{lines}publish(PhaseFinished(shop, Phase.BUILD, 1))", verbose=True
    ) as shown:
        assert shown.end() == 0
        assert shown.lines[:6] == [*(f"    line {number}" for number in range(5)), "  ✓ build 1.0s"]


def test_on_a_narrow_terminal_phases_go_on_below_and_nothing_of_the_progress_is_left() -> None:
    with told(DEPLOY.replace("compiling module", "compiling " + "a long line " * 20), columns=34) as shown:
        shown.shows("compiling a long line")
        assert len(shown.lines) == 3
        assert shown.lines[-1].endswith("…")
        shown.process.send_signal(signal.SIGUSR1)
        assert shown.end() == 0
        assert shown.lines[:3] == [
            "  ✓ build 3.1s   ✓ start 0.4s",
            "  ✓ healthy 0.9s   ✓ route 0.02s",
            "    port 8000: EXPOSE in the Docke",
        ]


def test_without_unicode_the_signs_are_ascii_and_nothing_of_the_progress_is_left() -> None:
    story = DEPLOY.replace("compiling", "kompiliert für 日本 " + "x" * 200)
    with told(story, env={"PYTHONIOENCODING": "ascii:backslashreplace"}) as shown:
        shown.shows("kompiliert f\\xfcr \\u65e5")
        assert len(shown.lines) == 3
        shown.process.send_signal(signal.SIGUSR1)
        assert shown.end() == 0
        assert shown.lines[0] == "  ok build 3.1s   ok start 0.4s   ok healthy 0.9s   ok route 0.02s"
        assert shown.raw.isascii()


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_dumb_terminal_gets_plain_lines(name: str) -> None:
    with told(DEPLOY.replace("pause()\n", ""), env={"TERM": name}) as shown:
        assert shown.end() == 0
        assert b"\x1b" not in shown.raw
        assert shown.lines[0] == "deploying feature/login at 4a21e1b1c2d3 as release 3"
        assert shown.lines[-1] == URL


def test_without_colours_there_are_none() -> None:
    with told(DEPLOY.replace("pause()\n", ""), env={"NO_COLOR": "1"}) as shown:
        assert shown.end() == 0
        assert b"\x1b[3" not in shown.raw and b"\x1b[9" not in shown.raw
        assert "  ✓ build 3.1s" in shown.text


@pytest.mark.parametrize("env", [{}, {"TERM": "dumb"}])
def test_nothing_that_others_wrote_reaches_the_terminal_raw(env: dict[str, str]) -> None:
    evil = "\\\\x1b[2J\\\\x1b]0;title\\\\x07\\\\x9b31m[red]x[/] \\\\u202e\\\\r\\\\x08".replace("\\\\", "\\")
    story = f"""
evil = "{evil}"
publish(DeployStarted(EnvironmentId("local", "shop", evil), evil, 3))
publish(PhaseStarted(shop, Phase.BUILD))
publish(Output(shop, evil))
pause()
publish(Note(shop, evil)); publish(Note(shop, evil, warning=True)); publish(Waiting(shop, evil))
phase(Phase.START, 1, evil)
"""
    with told(story, env=env, verbose=True) as shown:
        shown.shows("[red]x[/] ��")
        shown.process.send_signal(signal.SIGUSR1)
        assert shown.end() == 0
        for sequence in (b"\x1b[2J", b"\x1b]", b"\x07", b"\xc2\x9b", b"\xe2\x80\xae", b"\x08"):
            assert sequence not in shown.raw


# Without a terminal


EVENTS: list[Event] = [
    DeployStarted(SHOP, "4a21e1b1c2d3" + "0" * 28, 3),
    Waiting(SHOP, "another deploy runs"),
    PhaseStarted(SHOP, Phase.BUILD),
    Output(SHOP, "compiling"),
    PhaseFinished(SHOP, Phase.BUILD, 3.12),
    Note(SHOP, "port 8000: EXPOSE in the Dockerfile"),
    Note(SHOP, "beware", warning=True),
    PhaseStarted(SHOP, Phase.HEALTHY),
    PhaseFinished(SHOP, Phase.HEALTHY, 0.02, "HTTP / on port 8000"),
    Ready(SHOP, URL, "4a21", 3, {"total": 4.4}),
    Removed(SHOP, ("a", "b")),
]


def test_without_a_terminal_each_event_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as publish:
        for event in EVENTS:
            publish(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "deploying feature/login at 4a21e1b1c2d3 as release 3",
        "waiting: another deploy runs",
        "  | compiling",
        "build 3.1s",
        "  port 8000: EXPOSE in the Dockerfile",
        "warning: beware",
        "healthy 0.02s  (HTTP / on port 8000)",
        "ready in 4.4s",
        "removed 2 resources of feature/login",
    ]


@pytest.mark.parametrize(
    ("error", "word"),
    [(BuildError("x"), "failed"), (SupersededError("x"), "stopped"), (KeyboardInterrupt(), "stopped")],
)
def test_without_a_terminal_the_phase_that_did_not_finish_is_named(
    error: BaseException, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), progress() as publish:
        publish(PhaseStarted(SHOP, Phase.BUILD))
        raise error
    assert capsys.readouterr().err.startswith(f"build {word} after 0.0")


def test_without_a_terminal_a_line_is_out_before_the_next_is_printed() -> None:
    program = f"{STORY}\nwith progress() as publish:\n    publish(Output(shop, 'compiling'))\n    pause()\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline() == b"  | compiling\n"
        assert process.poll() is None
        process.send_signal(signal.SIGUSR1)


def test_quiet_shows_nothing_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=True) as publish:
        for event in EVENTS:
            publish(event)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: beware\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.004, "0.00s"),
        (0.02, "0.02s"),
        (0.44, "0.4s"),
        (3.12, "3.1s"),
        (59.9, "59.9s"),
        (60, "1m 0s"),
        (754.3, "12m 34s"),
    ],
)
def test_durations_are_short(value: float, text: str) -> None:
    assert seconds(value) == text
