"""The line on which each key of a TOML document stands: tomllib keeps no positions, and errors should name them.

The text must be valid TOML (tomllib has read it before); then telling strings, comments and brackets apart is enough.
"""

from __future__ import annotations

import re
import tomllib
from collections import deque
from typing import Any, NamedTuple

from branchline.settings.keys import Path

_TOKEN = re.compile(
    r'''
    (?P<skipped> [ \t\r]+ | \#[^\n]* )
    | """ (?: \\. | [^\\] )*? "{3,5}      # a multi-line string may end with two quotes of its own
    | \'\'\' .*? \'{3,5}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    | [\[\]{}=,.\n]
    | [^\s\[\]{}=,."'\#]+
    ''',
    re.VERBOSE | re.DOTALL,
)
_ENDS_VALUE = frozenset("\n,]}")


class _Token(NamedTuple):
    text: str
    line: int


def key_lines(text: str) -> dict[Path, int]:
    """The line, counted from 1, where each key, table and list item of a valid TOML document first appears."""
    tokens = _tokens(text)
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    while tokens:
        token = tokens[0]
        if token.text == "\n":
            tokens.popleft()
        elif token.text == "[":
            table = _header(tokens, counts, lines)
        else:
            _pair(tokens, table, lines)
    return lines


def _tokens(text: str) -> deque[_Token]:
    """All that is not space or comment, with a line end after the last."""
    tokens: deque[_Token] = deque()
    line = 1
    for match in _TOKEN.finditer(text):
        if not match["skipped"]:
            tokens.append(_Token(match[0], line))
        line += match[0].count("\n")
    tokens.append(_Token("\n", line))
    return tokens


def _header(tokens: deque[_Token], counts: dict[Path, int], lines: dict[Path, int]) -> Path:
    """Reads `[table]` or `[[list of tables]]`; returns the path that the following keys are below."""
    line = tokens.popleft().line
    listed = tokens[0].text == "["
    if listed:
        tokens.popleft()
    path: Path = ()
    *outer, last = _names(tokens, "]")
    for name in outer:
        path = _inside((*path, name), counts)
        lines.setdefault(path, line)
    path = (*path, last)
    lines.setdefault(path, line)
    if listed:
        tokens.popleft()
        counts[path] = counts.get(path, 0) + 1
    path = _inside(path, counts)
    lines.setdefault(path, line)
    return path


def _inside(path: Path, counts: dict[Path, int]) -> Path:
    """The latest item, if a list of tables is at the path."""
    return (*path, counts[path] - 1) if path in counts else path


def _pair(tokens: deque[_Token], table: Path, lines: dict[Path, int]) -> None:
    """Reads `key = value`."""
    line = tokens[0].line
    path = table
    for name in _names(tokens, "="):
        path = (*path, name)
        lines.setdefault(path, line)
    _value(tokens, path, lines)


def _names(tokens: deque[_Token], end: str) -> list[str]:
    """Reads a key up to `end`, and lets tomllib undo its quotes."""
    key = ""
    while (token := tokens.popleft()).text != end:
        key += token.text
    names: list[str] = []
    level: Any = tomllib.loads(f"{key}=0")
    while isinstance(level, dict):
        ((name, level),) = level.items()  # pyright: ignore[reportUnknownVariableType]
        names.append(name)  # pyright: ignore[reportUnknownArgumentType]
    return names


def _value(tokens: deque[_Token], path: Path, lines: dict[Path, int]) -> None:
    """Reads a value, and notes what is inside of it."""
    closing = {"[": "]", "{": "}"}.get(tokens[0].text)
    if closing is None:
        while tokens[0].text not in _ENDS_VALUE:
            tokens.popleft()
        return
    tokens.popleft()
    position = 0
    while tokens[0].text != closing:
        if tokens[0].text in _ENDS_VALUE:
            tokens.popleft()
        elif closing == "}":
            _pair(tokens, path, lines)
        else:
            item = (*path, position)
            lines.setdefault(item, tokens[0].line)
            _value(tokens, item, lines)
            position += 1
    tokens.popleft()
