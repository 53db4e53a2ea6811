"""What a demo tells its reader: chapters, explanations, and claims, each of which was checked."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
_WIDEST = 100


def say(text: str, style: str = "") -> None:
    print(f"\033[{style}m{text}\033[0m" if style and COLOURS else text, flush=True)


def chapter(text: str) -> None:
    say(f"\n== {text}", "1;36")


def explain(text: str) -> None:
    """Says what is about to be seen, or what it means."""
    say(_wrapped(text, "", ""))


def claim(held: bool, text: str) -> None:
    """Says what was checked; ends the demo where it didn't hold."""
    if not held:
        say(_wrapped(text, "  ✗ ", "    "), "1;31")
        raise SystemExit(1)
    say(_wrapped(text, "  ✓ ", "    "), "32")


def _wrapped(text: str, first: str, further: str) -> str:
    """The text in lines of the terminal's width. URLs and names are never broken."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
