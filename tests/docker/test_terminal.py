"""What a person at a terminal sees: a shell in a container, a deploy that goes on, the table of environments."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.docker.app import crashing
from tests.docker.conftest import Branchline
from tests.repositories import Repo
from tests.terminals import Terminal, terminal
from tests.waiting import eventually


@contextmanager
def typed(
    branchline: Branchline, repo: Repo, *arguments: str, columns: int = 100, lines: int = 30
) -> Iterator[Terminal]:
    """The command on a terminal."""
    unwanted = ("NO_COLOR", "COLUMNS", "LINES")
    env = {name: value for name, value in branchline.environment.items() if name not in unwanted}
    command = [sys.executable, "-m", "branchline", *arguments]
    usual = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    with terminal(command, cwd=repo.path, env=env | usual, columns=columns, lines=lines) as shown:
        yield shown


def asked_for_the_size(shown: Terminal) -> str:
    """What the shell on the terminal said last when it was asked how large that is."""
    shown.type("stty size\r")
    return next((line for line in reversed(shown.lines) if re.fullmatch(r"\d+ \d+", line)), "")


@pytest.fixture
def small(tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    """A repository whose application is small and quick to build."""
    dockerfile = (
        f'FROM {tiny_base}\nCOPY index.html /www/\nEXPOSE 8000\nCMD ["httpd", "-f", "-p", "8000", "-h", "/www"]\n'
    )
    return repository({"Dockerfile": dockerfile, "index.html": "hello"})


def test_a_shell_has_a_prompt_editing_the_windows_size_and_its_own_ctrl_c(branchline: Branchline, small: Repo) -> None:
    branchline.deploy(small)
    with typed(branchline, small, "exec", "main", "--", "sh", columns=90, lines=20) as shown:
        before = shown.attributes()
        shown.shows("/ #")
        shown.type("echo mistakX\x7fe\r")
        shown.shows("\nmistake\n")
        shown.type("stty size\r")
        shown.shows("\n20 90\n")
        shown.resize(70, 15)
        eventually(lambda: asked_for_the_size(shown) == "15 70", "the new size has arrived", interval=0.5)
        shown.type("sleep 1234\r")
        shown.shows("# sleep 1234")
        shown.type("\x03")
        shown.type("echo code $?\r")
        shown.shows("\ncode 130\n")
        shown.type("exit 5\r")
        assert shown.end() == 5
        assert shown.attributes() == before


def test_the_terminal_is_as_it_was_after_a_command_that_cannot_be_started(branchline: Branchline, small: Repo) -> None:
    branchline.deploy(small)
    with typed(branchline, small, "exec", "main", "--", "nosuch") as shown:
        before = shown.attributes()
        assert shown.end() == 127
        assert shown.attributes() == before
        assert shown.lines[0] == "error: nosuch: there is no such command in the container"


def test_without_a_terminal_on_purpose_the_command_has_none(branchline: Branchline, small: Repo) -> None:
    branchline.deploy(small)
    with typed(branchline, small, "exec", "-T", "main", "tty") as shown:
        assert shown.end() == 1
        assert shown.lines == ["not a tty"]


def test_a_deploy_ends_as_one_line_and_the_url_and_the_table_has_it_whole(branchline: Branchline, small: Repo) -> None:
    with typed(branchline, small, "deploy") as shown:
        assert shown.end() == 0
        phases, note, address = shown.lines
        assert re.fullmatch(
            r"  ✓ build \d+\.\d+s   ✓ start \d+\.\d+s   ✓ healthy \d+\.\d+s   ✓ route \d+\.\d+s", phases
        )
        assert note == "    port 8000: EXPOSE in the Dockerfile"
        assert address == f"  http://main--shop.localhost:{branchline.port}"
    with typed(branchline, small, "list", columns=60) as shown:
        assert shown.end() == 0
        assert f"  http://main--shop.localhost:{branchline.port}" in shown.lines


def test_a_failed_deploy_marks_the_phase_and_ends_with_the_reason(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(crashing(tiny_base, r"$(printf '\\033[2J\\033[31mno database')", 7))
    with typed(branchline, repo, "deploy") as shown:
        assert shown.end() == 1
        assert re.match(r"  ✓ build \d+\.\d+s   ✓ start \d+\.\d+s   ✗ healthy \d+\.\d+s$", shown.lines[0])
        assert shown.lines[-3:] == [
            "  | no database",
            "error: the container exited with exit code 7 before it was healthy",
            "  → its last lines say why",
        ]
        assert b"\x1b[2J" not in shown.raw
        assert not shown.cursor_hidden
