"""Takes the picture of a terminal in the README: `python scripts/record_terminal.py docs/images/deploy.svg`.

The commands are run for real, on a pseudo-terminal, in a repository and on a platform of the picture's own, which are
removed at the end. Needs a Docker Engine and busybox-static, as the demo does, but no image registry.
"""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from termios import TIOCSWINSZ

import docker
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from demo.shop import base_image, page

WIDTH, HEIGHT = 110, 40
PORT = 8080  # as it is by default
BASE = "branchline-picture-base"
PLATFORM = "picture"
BRANCHLINE = Path(sys.executable).with_name("branchline")
SETTINGS = 'platform = "{platform}"\nstate_dir = "{directory}/state"\n[router]\nhttp_port = {port}\n'
DOCKERFILE = f'FROM {BASE}\nCOPY www /www\nEXPOSE 8000\nCMD ["httpd", "-f", "-p", "8000", "-h", "/www"]\n'
BROKEN = f'FROM {BASE}\nEXPOSE 8000\nCMD ["sh", "-c", "echo fatal: no database at db:5432; exit 1"]\n'
_CONTROL = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|\r|\n")


def run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    """Runs the command on a terminal; returns what it sent to it."""
    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    process = subprocess.Popen(command, cwd=directory, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    sent = bytearray()
    try:
        while piece := os.read(ours, 1 << 16):
            sent += piece
    except OSError:  # Linux ends a terminal without writers so
        pass
    os.close(ours)
    process.wait()
    return sent.decode()


def screen(sent: str) -> list[str]:
    """The lines that are left on the terminal, with their colours: what a spinner wrote and erased is gone.

    Knows what Rich uses: return, line feed, cursor up, erase line. Colours stay in the text.
    """
    lines, row, position = [""], 0, 0
    for control in _CONTROL.finditer(sent):
        lines[row] += sent[position : control.start()]
        position = control.end()
        match control.group(0), control.group(2):
            case "\n", _:
                row += 1
                lines += [""] * (row - len(lines) + 1)
            case _, "A":
                row -= int(control.group(1) or 1)
            case _, "K":
                lines[row] = ""
            case text, "m":
                lines[row] += text
            case _:
                pass  # a return is followed by an erasure or a line feed; the cursor's visibility doesn't show
    lines[row] += sent[position:]
    return lines


@contextmanager
def repository(directory: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A shop with main deployed, and a feature branch checked out that isn't."""
    shop = directory / "shop"
    (shop / "www").mkdir(parents=True)

    def commit(message: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            (shop / name).write_text(text)
        quietly("git", "add", "--all")
        quietly("git", "commit", "--quiet", "--message", message)

    def quietly(*command: str) -> None:
        subprocess.run(command, cwd=shop, env=environment, check=True, capture_output=True)

    docker.from_env().api.import_image_from_data(base_image(), repository=BASE, tag="latest")
    try:
        quietly("git", "init", "--quiet", "--initial-branch=main")
        commit("The shop", {"Dockerfile": DOCKERFILE, "www/index.html": page("Shop", "main", "#37474f")})
        quietly(str(BRANCHLINE), "deploy")
        quietly("git", "checkout", "--quiet", "-b", "feature/login")
        commit("Log in", {"www/index.html": page("Log in", "login", "#3949ab")})
        yield shop
    finally:
        for arguments in (["destroy", "--all"], ["router", "stop"]):
            subprocess.run([BRANCHLINE, *arguments], cwd=directory, env=environment, check=True, capture_output=True)
        docker.from_env().images.remove(BASE, force=True)


def picture() -> str:
    """The terminal as SVG."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="branchline-picture-") as name:
        directory = Path(name)
        settings = directory / "platform.toml"
        settings.write_text(SETTINGS.format(platform=PLATFORM, directory=directory, port=PORT))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "GIT_"))}
        environment = kept | {
            "BRANCHLINE_CONFIG": str(settings),
            "TERM": "xterm-256color",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }
        with repository(directory, environment) as shop:
            show(console, ["deploy"], shop, environment)
            show(console, ["list"], shop, environment)
            (shop / "Dockerfile").write_text(BROKEN)
            subprocess.run(["git", "commit", "-qam", "Use a database"], cwd=shop, env=environment, check=True)
            show(console, ["deploy"], shop, environment)
    image = console.export_svg(title="shop")
    # Its font would be fetched from a content network; the reader's own does as well.
    return re.sub(r"\s*@font-face \{.*?\}\n", "\n", image, flags=re.DOTALL)


def show(console: Console, arguments: list[str], directory: Path, environment: dict[str, str]) -> None:
    """Puts the command and what it printed on the picture."""
    console.print(Text.assemble(("$ ", "dim"), (f"branchline {' '.join(arguments)}", "bold")))
    lines = screen(run([str(BRANCHLINE), *arguments], directory, environment))
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    for line in lines:
        if Text.from_ansi(line).plain.strip():
            console.print(Text.from_ansi(line))
    console.print()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture())
