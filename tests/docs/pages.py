"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str


def pages() -> list[Path]:
    """Every page: those in docs, and those at the root that lead to them."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def named(path: Path) -> str:
    """How a page is called in a test's name."""
    return str(path.relative_to(ROOT))


def blocks(text: str) -> list[Block]:
    """The page's fenced blocks, in their order."""
    return [Block(language, body) for language, body in _FENCE.findall(text)]


def without_blocks(text: str) -> str:
    """The page's prose."""
    return _FENCE.sub("", text)


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a `console` block, each with the lines that it prints; a `sh` block is one that prints none."""
    if block.language == "sh":
        yield block.text.rstrip("\n"), []
        return
    command: str | None = None
    printed: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, printed
            command, printed = line[2:], []
        else:
            printed.append(line)
    if command is not None:
        yield command, printed


def section(text: str, title: str) -> str:
    """What stands below a heading, up to the next one."""
    _, _, rest = text.partition(f"\n## {title}\n")
    assert rest, f"there is no section {title!r}"
    return rest.partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """The `code` in the first cell of each row of the tables."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
