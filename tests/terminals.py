"""Programs on a real terminal: a pseudo-terminal, with what stands on its screen as a person would see it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte

from tests.waiting import eventually

# The program's session gets the terminal on its standard input as its own, so that Ctrl-C and SIGWINCH reach it.
_LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A terminal with a program running on it."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, columns: int, lines: int) -> None:
        self.process = process
        self.raw = b""
        """All that the program wrote to the terminal."""
        self._descriptor = descriptor
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except OSError:  # the last program that had the terminal has ended
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without the blank lines at its end."""
        with self._lock:
            lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)

    @property
    def cursor_hidden(self) -> bool:
        """Whether the program left the cursor hidden."""
        return self._screen.cursor.hidden

    def attributes(self) -> list[object]:
        """The terminal's modes, as `tcgetattr` has them."""
        return termios.tcgetattr(self._descriptor)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._descriptor, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Makes the window another size, which the kernel tells the program."""
        with self._lock:
            self._screen.resize(lines, columns)
        _set_size(self._descriptor, columns, lines)

    def shows(self, text: str, timeout: float = 20) -> None:
        """Waits until the text stands on the screen."""

        def looked() -> bool:
            assert text in self.text, f"the screen shows:\n{self.text}"
            return True

        eventually(looked, f"the screen shows {text!r}", timeout=timeout)

    def end(self, timeout: float = 60) -> int:
        """Waits until the program and all its output have come to their end; returns the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code


@contextmanager
def terminal(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], columns: int = 100, lines: int = 30
) -> Iterator[Terminal]:
    """Runs the program on a terminal, as long as the block goes on at most.

    `env` is its whole environment, but for what says that this is a usual terminal.
    """
    ours, theirs = pty.openpty()
    _set_size(theirs, columns, lines)
    usual = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, *command],
        cwd=cwd,
        env=usual | dict(env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = Terminal(process, ours, columns, lines)
    try:
        yield shown
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        shown.end()
        os.close(ours)


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
