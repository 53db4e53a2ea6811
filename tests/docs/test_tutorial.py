"""The tutorial's commands, run on a terminal as a reader would, print what the page says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from rich.text import Text

from scripts.record_terminal import run, screen
from tests.docker.conftest import Branchline
from tests.docs.pages import DOCS, blocks, commands

BASE = "FROM busybox:1.37"
_DIFFERS = [
    (re.compile(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b"), "COMMIT"),
    (re.compile(r"\b[0-9]+(?:\.[0-9]+)?[smhd]\b"), "TIME"),
    (re.compile(r"\b[0-9]+ (?:B|[KMG]iB)\b"), "MEMORY"),
    (re.compile(r" +"), " "),
]
"""What is another reader's or another day's, and columns that are as wide as what is in them."""


def alike(text: str) -> str:
    for pattern, name in _DIFFERS:
        text = pattern.sub(name, text)
    return text.strip()


def same(expected: list[str], seen: list[str]) -> bool:
    """Whether the lines are alike; a line `…` stands for any number of others."""
    pattern = "".join("(?:.*\n)*?" if line == "…" else re.escape(alike(line)) + "\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{alike(line)}\n" for line in seen)) is not None


def test_the_tutorial_does_what_it_says(branchline: Branchline, tiny_base: str, tmp_path: Path) -> None:
    text = (DOCS / "tutorial.md").read_text()
    assert text.count(BASE) == 1
    steps = [(block, *step) for block in blocks(text) for step in commands(block)]
    script = "\n".join(f'{command}\nstatus=$?; echo; echo "==== $status"; (exit $status)' for _, command, _ in steps)
    script = script.replace(BASE, f"FROM {tiny_base}").replace(":8080", f":{branchline.port}")
    (tmp_path / "tutorial.sh").write_text(script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = branchline.environment | {"PATH": path, "TERM": "xterm-256color"}
    sent = run(["bash", str(tmp_path / "tutorial.sh")], tmp_path, environment)

    lines = [Text.from_ansi(line).plain.rstrip() for line in screen(sent)]
    outputs = re.split(r"^==== ([0-9]+)$", "\n".join(lines), flags=re.MULTILINE)
    assert len(outputs) == 2 * len(steps) + 1, "\n".join(lines)
    for (block, command, expected), output, status in zip(steps, outputs[::2], outputs[1::2], strict=False):
        seen = output.replace(f":{branchline.port}", ":8080").replace(branchline.platform, "default").split("\n")
        seen = [line for line in seen if line]
        if block.language == "sh":
            assert status == "0", f"{command}\n{output}"
        else:
            assert same(expected, seen), f"$ {command}\n" + "\n".join(seen)
