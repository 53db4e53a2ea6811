"""Running the git command line: without prompts, without the environment of a hook, without showing credentials."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from branchline.errors import ConfigurationError, SourceError
from branchline.source.location import without_credentials

SILENCE = 60.0
"""Seconds without a sign of life after which a connection counts as dead. A long clone shows progress all the time."""

_HOOK_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""`git rev-parse --local-env-vars` and what else git sets for a hook, apart from configuration, which is the user's."""

_PROGRESS = re.compile(r"[0-9]+% \(|: [0-9]+, done\.|Enumerating objects|Total [0-9]+ \(delta")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a git command gave."""

    code: int
    output: bytes
    errors: bytes

    @property
    def text(self) -> str:
        """The output without its line end. Names in git are bytes; those that are not UTF-8 survive."""
        return decoded(self.output).removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Git:
    """The git command, in one repository or in none."""

    directory: Path | None = None
    """The repository's git directory."""
    root: Path | None = None
    """Its working tree, where it has one."""

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stderr: int = subprocess.PIPE,
        variables: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts git in a session of its own: with no terminal, neither git nor ssh can ask for anything.

        Raises:
            SourceError: git is not installed.
        """
        command = ["git"]
        if self.directory:
            # The remote's URL may be a path, which git takes from the working tree's root.
            command += ["-C", str(self.root or self.directory), f"--git-dir={self.directory}"]
        try:
            return subprocess.Popen(
                [encoded(word) for word in [*command, *arguments]],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=variables or environment(),
                start_new_session=True,
            )
        except FileNotFoundError:
            raise SourceError(
                "git is not installed, or not on the PATH", remedy="install it, for example: apt-get install git"
            ) from None

    def ask(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """Runs a command that stays on this machine; its exit code is the caller's to judge."""
        process = self.start(*arguments, stdin=subprocess.PIPE)
        try:
            output, errors = process.communicate(stdin)
        finally:
            stop(process)
        return Answer(process.returncode, output, errors)

    def read(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """Runs a command that stays on this machine and has no reason to fail.

        Raises:
            SourceError: it failed; says what git said.
        """
        answer = self.ask(*arguments, stdin=stdin)
        if answer.code != 0:
            raise SourceError(
                f"git {arguments[0]} failed in {self.root or self.directory}: {complaint(answer.errors)}",
                remedy="check the disk and the repository (git fsck), or clone it again",
                details=complaints(answer.errors),
            )
        return answer

    def connect(self, *arguments: str, address: str) -> Answer:
        """Runs a command that talks to a remote; `address` is what errors call it, credentials removed.

        Raises:
            SourceError: the remote can't be reached, refused, or fell silent for `SILENCE` seconds.
        """
        shown = without_credentials(address)
        process = self.start(*arguments, variables=self._connecting())
        try:
            output, errors = _received(process)
        except TimeoutError:
            raise SourceError(
                f"{shown} gave no answer for {SILENCE:g} seconds",
                remedy="check the network and the remote, then try again",
            ) from None
        finally:
            stop(process)
        if process.returncode != 0:
            raise SourceError(
                f"can't read {shown}: {complaint(errors)}",
                remedy="check the address, the network and the access rights; git must get in without a prompt:"
                f" git ls-remote {shown}",
                details=complaints(errors),
            )
        return Answer(process.returncode, output, errors)

    def _connecting(self) -> dict[str, str]:
        """The environment for a connection: ssh must not ask either, unless the user chose how to call it."""
        variables = environment()
        chosen = "GIT_SSH_COMMAND" in variables or "GIT_SSH" in variables
        if not chosen and self.ask("config", "--get", "core.sshCommand").code != 0:
            variables["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        return variables


def encoded(text: str) -> bytes:
    """A name as git stores it."""
    return text.encode("utf-8", "surrogateescape")


def decoded(name: bytes) -> str:
    """A name that git gave; `encoded` takes it back."""
    return name.decode("utf-8", "surrogateescape")


def environment() -> dict[str, str]:
    """The process's environment for git: no prompt, English messages, and no trace of a hook we may be run from."""
    variables = {name: value for name, value in os.environ.items() if name not in _HOOK_VARIABLES}
    variables |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    variables.setdefault("GIT_ASKPASS", "")  # empty is "ask nobody": a desktop's SSH_ASKPASS would open a window
    return variables


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends git and whatever it started, such as ssh. What has ended already is left alone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _received(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Everything that the process prints until it ends.

    Raises:
        TimeoutError: it printed nothing for `SILENCE` seconds.
    """
    if process.stdout is None or process.stderr is None:
        raise ValueError("the process has no pipes to read from")
    received = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with process.stdout, process.stderr, selectors.DefaultSelector() as selector:
        for descriptor in received:
            selector.register(descriptor, selectors.EVENT_READ)
        deadline = time.monotonic() + SILENCE
        while selector.get_map():
            ready = selector.select(timeout=0.5)
            for key, _ in ready:
                if chunk := os.read(key.fd, 1 << 16):
                    received[key.fd] += chunk
                    deadline = time.monotonic() + SILENCE
                else:
                    selector.unregister(key.fd)
            if ready:
                continue
            if process.poll() is not None:
                break  # a shared ssh connection that outlives git keeps our pipe open
            if time.monotonic() > deadline:
                raise TimeoutError
        output, errors = (bytes(buffer) for buffer in received.values())
    process.wait()
    return output, errors


def complaints(errors: bytes) -> tuple[str, ...]:
    """The last lines that git printed to say what is wrong, without progress and credentials."""
    lines = without_credentials(errors.decode("utf-8", "replace")).splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not _PROGRESS.search(line))[-10:]


def complaint(errors: bytes) -> str:
    """What git says is wrong, in one line."""
    lines = complaints(errors)
    for index in reversed(range(len(lines))):
        if lines[index].startswith(("fatal: ", "error: ")):
            # Said by git after ssh has said why.
            if index and "Could not read from remote repository" in lines[index]:
                return lines[index - 1]
            return lines[index].partition(": ")[2]
    return lines[-1] if lines else "no reason given"


def check_branch(branch: str) -> str:
    """Returns the branch's name if git allows it, and takes it literally (`@{-1}` is no name).

    Raises:
        ConfigurationError: git doesn't allow such a name.
    """
    try:
        allowed = (
            bool(branch)
            and not branch.startswith("-")
            and branch != "HEAD"
            and "\0" not in branch
            and Git().ask("check-ref-format", f"refs/heads/{branch}").code == 0
        )
    except UnicodeEncodeError:
        allowed = False
    if not allowed:
        raise ConfigurationError(
            f"{branch!r} can't be the name of a branch",
            remedy="use the name that `git branch` shows, without refs/heads/ or a remote's name in front",
        )
    return branch
