"""`branchline logs` and `branchline exec`, as scripts use them; on a terminal: test_terminal.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest

from tests.docker.app import crashing
from tests.docker.conftest import Branchline
from tests.repositories import Repo
from tests.waiting import eventually


@pytest.fixture
def talker(branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    """A repository, deployed, whose application prints 'word 1' and then only what it is told to (see `say`)."""
    dockerfile = f"""\
FROM {tiny_base}
COPY word /word
COPY index.html /www/
EXPOSE 8000
CMD ["sh", "-c", "cat /word; exec httpd -f -p 8000 -h /www"]
"""
    repo = repository({"Dockerfile": dockerfile, "word": "word 1\n", "index.html": "hello"})
    branchline.deploy(repo)
    return repo


def run(
    branchline: Branchline, repo: Repo, *arguments: str, given: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command with bytes for its input; its output and errors are bytes too."""
    return subprocess.run(
        [sys.executable, "-m", "branchline", *arguments],
        cwd=repo.path,
        env=branchline.environment,
        input=given,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


def say(branchline: Branchline, repo: Repo, text: bytes) -> None:
    """Has the application's output get the bytes."""
    done = run(branchline, repo, "exec", "main", "--", "sh", "-c", "cat > /proc/1/fd/1", given=text)
    assert done.returncode == 0, done.stderr


def crash(branchline: Branchline, repo: Repo) -> None:
    """Kills every process of the container."""
    run(branchline, repo, "exec", "main", "--", "kill", "-9", "-1")


class Follower:
    """A `branchline logs -f` that runs, and the lines that it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def prints(self, line: str, timeout: float = 30) -> None:
        def seen() -> bool:
            assert line in self.lines, f"printed: {self.lines}"
            return True

        eventually(seen, f"{line!r} is printed", timeout=timeout)

    def end(self) -> tuple[int, str]:
        """Waits for its end; returns the exit code and what it wrote to its errors."""
        assert self.process.stderr
        code = self.process.wait(30)
        self._reader.join(30)
        return code, self.process.stderr.read()


@contextmanager
def following(branchline: Branchline, repo: Repo, *arguments: str) -> Iterator[Follower]:
    with branchline.start("logs", "-f", "main", *arguments, cwd=repo.path) as process:
        follower = Follower(process)
        try:
            yield follower
        finally:
            process.kill()


# logs


def test_logs_are_what_the_release_printed_and_may_be_limited_to_its_last_lines(
    branchline: Branchline, talker: Repo
) -> None:
    say(branchline, talker, b"two\nthree\n")
    assert branchline("logs", "main", cwd=talker.path).out == "word 1\ntwo\nthree\n"
    assert branchline("logs", "-n", "2", cwd=talker.path).out == "two\nthree\n"
    assert branchline("logs", "-n", "0", cwd=talker.path).out == ""


def test_logs_pass_every_byte_and_lines_of_any_length_on(branchline: Branchline, talker: Repo) -> None:
    """But for what isn't UTF-8: that is lost already where the engine stores it, as JSON."""
    text = b"\x00\x01\x1b[31mred\x1b[0m\r\n" + "grüß\n".encode() + b"0123456789" * 20_000 + b"\n"
    say(branchline, talker, text)
    assert run(branchline, talker, "logs", "main").stdout == b"word 1\n" + text


def test_following_goes_on_after_a_crash_and_with_the_next_release_until_the_branch_is_destroyed(
    branchline: Branchline, talker: Repo
) -> None:
    with following(branchline, talker) as follower:
        follower.prints("word 1")
        say(branchline, talker, b"as it comes\n")
        follower.prints("as it comes")
        say(branchline, talker, b"last words without an end")
        crash(branchline, talker)
        follower.prints("--- started again ---")
        commit = talker.commit(files={"word": "word 2\n"})
        branchline.deploy(talker)
        follower.prints("word 2")
        branchline("destroy", "main", cwd=talker.path)
        assert follower.end() == (0, "")
        assert follower.lines == [
            "word 1",
            "as it comes",
            "last words without an end",
            "--- started again ---",
            "word 1",
            f"--- release 2, commit {commit[:12]} ---",
            "word 2",
            "--- main was destroyed ---",
        ]


def test_following_waits_while_the_branch_sleeps(branchline: Branchline, talker: Repo) -> None:
    say(branchline, talker, b"before\n")
    with following(branchline, talker, "-n", "1") as follower:
        follower.prints("before")
        branchline("sleep", "main", cwd=talker.path)
        follower.prints("--- main sleeps ---")
        branchline("wake", "main", cwd=talker.path)
        follower.prints("word 1")
        assert follower.lines == ["before", "--- main sleeps ---", "--- started again ---", "word 1"]


def test_ctrl_c_ends_following_without_a_word(branchline: Branchline, talker: Repo) -> None:
    with following(branchline, talker) as follower:
        follower.prints("word 1")
        follower.process.send_signal(signal.SIGINT)
        assert follower.end() == (130, "")


def test_a_reader_that_has_seen_enough_ends_following_quietly(branchline: Branchline, talker: Repo) -> None:
    process = branchline.start("logs", "-f", "main", cwd=talker.path)
    with process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "word 1\n"
        process.stdout.close()
        say(branchline, talker, b"more\n")
        assert process.wait(30) in (0, 1)
        assert process.stderr.read() == ""


def test_without_a_release_that_serves_logs_and_exec_say_why(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(crashing(tiny_base))
    missing = branchline.try_("logs", "main", cwd=repo.path)
    assert missing.code == 2
    assert "main of shop has no environment" in missing.err
    branchline.try_("deploy", cwd=repo.path)
    for command in (["logs", "main"], ["logs", "-f", "main"], ["exec", "main", "--", "ls"]):
        failed = branchline.try_(*command, cwd=repo.path)
        assert failed.code == 2
        assert "main has no release that serves: the container exited with exit code 7" in failed.err
        assert "deploy it again to see the last lines that it prints: branchline deploy --branch main" in failed.err


# exec


def test_a_command_has_its_own_exit_code_output_and_errors(branchline: Branchline, talker: Repo) -> None:
    done = branchline.try_("exec", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 7", cwd=talker.path)
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_a_commands_words_are_its_own(branchline: Branchline, talker: Repo) -> None:
    for words in (
        ["exec", "main", "echo", "-n", "--json", "--help", "--", "-T"],
        ["exec", "main", "--", "echo", "-n", "--json", "--help", "--", "-T"],
    ):
        assert branchline(*words, cwd=talker.path).out == "--json --help -- -T"


@pytest.mark.parametrize("words", [[], ["main"], ["main", "--"], ["--", "ls"]])
def test_both_the_branch_and_the_command_have_to_be_named(words: list[str], branchline: Branchline) -> None:
    refused = branchline.try_("exec", *words, cwd=branchline.state)
    assert refused.code == 2
    assert "branchline exec BRANCH -- CMD" in refused.err


def test_input_is_passed_on_to_its_end(branchline: Branchline, talker: Repo) -> None:
    assert run(branchline, talker, "exec", "main", "--", "cat", given=b"x\n").stdout == b"x\n"
    assert run(branchline, talker, "exec", "main", "--", "wc", "-c").stdout == b"0\n"


def test_ten_megabytes_go_both_ways_at_once(branchline: Branchline, talker: Repo) -> None:
    data = os.urandom(10_000_000)
    done = run(branchline, talker, "exec", "main", "--", "cat", given=data)
    assert done.returncode == 0
    assert done.stdout == data


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [("nosuch", 127, "nosuch: there is no such command"), ("/word", 126, "/word: it can't be executed")],
)
def test_a_command_that_cannot_be_started_says_so(
    program: str, code: int, words: str, branchline: Branchline, talker: Repo
) -> None:
    done = branchline.try_("exec", "main", program, cwd=talker.path)
    assert (done.code, done.out) == (code, "")
    assert words in done.err


def test_output_like_the_engines_refusal_is_still_output(branchline: Branchline, talker: Repo) -> None:
    text = "OCI runtime exec failed: not really\n"
    assert branchline("exec", "main", "echo", text.rstrip(), cwd=talker.path).out == text


def test_a_signal_is_the_commands(branchline: Branchline, talker: Repo, engine: docker.DockerClient) -> None:
    trap = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    for number, command, code, rest in (
        (signal.SIGTERM, ["sh", "-c", trap], 3, "bye\n"),
        (signal.SIGINT, ["sh", "-c", "echo ready; sleep 1234; echo not reached"], 130, ""),
    ):
        with branchline.start("exec", "main", "--", *command, cwd=talker.path) as process:
            assert process.stdout and process.stderr
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert (process.wait(30), process.stdout.read()) == (code, rest)
    eventually(lambda: "1234" not in processes(engine, branchline), "the interrupted command has ended")


def test_a_command_whose_output_nobody_reads_is_ended(
    branchline: Branchline, talker: Repo, engine: docker.DockerClient
) -> None:
    with branchline.start("exec", "main", "--", "yes", "unwanted", cwd=talker.path) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "unwanted\n"
        process.stdout.close()
        assert process.wait(30) in (0, 1)
        assert process.stderr.read() == ""
    eventually(lambda: "unwanted" not in processes(engine, branchline), "the command has ended", timeout=40)


def test_a_command_ends_with_its_container(branchline: Branchline, talker: Repo, engine: docker.DockerClient) -> None:
    with branchline.start("exec", "main", "--", "sh", "-c", "echo ready; sleep 1234", cwd=talker.path) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "ready\n"
        branchline("destroy", "main", cwd=talker.path)
        assert process.wait(30) == 137
        assert "the release ended while the command ran in it" in process.stderr.read()


def test_a_sleeping_branch_has_to_be_woken_first(branchline: Branchline, talker: Repo) -> None:
    branchline("sleep", "main", cwd=talker.path)
    refused = branchline.try_("exec", "main", "ls", cwd=talker.path)
    assert refused.code == 1
    assert "main sleeps" in refused.err
    assert "branchline wake main" in refused.err
    assert branchline("logs", "main", cwd=talker.path).out == "word 1\n"


def test_output_that_comes_with_the_head_of_the_engines_answer_is_not_lost(
    branchline: Branchline, talker: Repo
) -> None:
    """On a busy machine both may have arrived before the head is read."""
    with late_engine(branchline.state / "late.sock") as address:
        slow = {"DOCKER_HOST": address}
        assert branchline("exec", "main", "echo", "hello", cwd=talker.path, env=slow).out == "hello\n"


@contextmanager
def late_engine(path: Path) -> Iterator[str]:
    """The engine, by way of a socket that holds each answer back for a while and then gives all there is at once."""

    def pass_on(source: socket.socket, to: socket.socket, delay: float) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if delay:
                    time.sleep(delay)
                    with suppress(BlockingIOError):
                        while more := source.recv(1 << 16, socket.MSG_DONTWAIT):
                            data += more
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect("/var/run/docker.sock")
                opened.extend((client, engine))
                threading.Thread(target=pass_on, args=(client, engine, 0), daemon=True).start()
                threading.Thread(target=pass_on, args=(engine, client, 0.4), daemon=True).start()

    opened: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in opened:
            connection.close()


def processes(engine: docker.DockerClient, branchline: Branchline) -> str:
    """The commands that run in the platform's containers."""
    found = engine.api.containers(filters={"label": f"branchline:platform={branchline.platform}"})
    return "\n".join(str(engine.api.top(item["Id"])["Processes"]) for item in found)
