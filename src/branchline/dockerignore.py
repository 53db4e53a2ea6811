"""`.dockerignore`: which paths of a build context stay at home.

The rules are Docker's (https://docs.docker.com/build/concepts/context/#dockerignore-files), and where the
documentation is silent, those of the matcher that `docker build` itself uses (github.com/moby/patternmatcher):

- A line is a pattern; blank lines and lines that begin with `#` are none. Blanks around it are dropped, it is cleaned
  as a path is (`a//b/../c/` is `a/c`), and a leading slash changes nothing: all patterns start at the context's root.
- `*` and `?` stop at a slash, `**` stands for any number of directories, `[a-z]` and `[^a-z]` for one character, and a
  backslash takes the next character literally.
- A pattern matches a path and all that is below it. With `!` in front it is an exception. The last match decides, so a
  file can be taken back from a directory that is ignored.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from branchline.errors import ConfigurationError

FILE_NAME = ".dockerignore"


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The patterns of one ignore file, last first."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()
    """A pattern, and whether what it matches is ignored; False for an exception."""

    def ignores(self, path: str) -> bool:
        """Whether the path, relative to the context's root and with slashes, stays out of the context."""
        for pattern, ignored in self.patterns:
            if pattern.fullmatch(path):
                return ignored
        return False


def parse(text: str, name: str = FILE_NAME) -> IgnoreRules:
    """Reads an ignore file; `name` is what errors call it.

    Raises:
        ConfigurationError: a line is no pattern, for example because a `[` is never closed.
    """
    patterns: list[tuple[re.Pattern[str], bool]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if not stripped or line.startswith("#"):
            continue
        exception = stripped.startswith("!")
        pattern = stripped[1:].strip() if exception else stripped
        try:
            if not pattern:
                raise ValueError("nothing follows the '!'")
            cleaned = posixpath.normpath(pattern).lstrip("/")
            if cleaned not in {"", "."}:  # "for historical reasons, the pattern . is ignored"
                patterns.append((re.compile(f"(?s:{_expression(cleaned)})(?:/.*)?", re.DOTALL), not exception))
        except (ValueError, re.error) as error:
            raise ConfigurationError(
                f"{name}:{number}: {stripped!r} is not a pattern: {error}",
                remedy="correct the line; a character that means itself takes a backslash in front",
            ) from None
    return IgnoreRules(tuple(reversed(patterns)))


def _expression(pattern: str) -> str:
    """The pattern as a regular expression."""
    if pattern.startswith("**") and not re.search(r"[*?\[\\]", pattern[2:]) and not pattern.startswith("**/"):
        return f".*{re.escape(pattern[2:])}"  # `**.log`, undocumented: Docker compares the end of the path
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1):
            position += 2 if pattern.startswith("/", position + 1) else 1
            parts.append("(?:.*/)?" if position < len(pattern) else ".*")
        elif character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            end = _end_of_class(pattern, position)
            parts.append(_character_class(pattern[position:end]))
            position = end + 1
        elif character == "\\":
            if position == len(pattern):
                raise ValueError("nothing follows the backslash")
            parts.append(re.escape(pattern[position]))
            position += 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _end_of_class(pattern: str, start: int) -> int:
    """Where the `]` is that closes the class whose content begins at `start`."""
    closing = re.compile(r"(?:\\.|[^\]\\])*\]", re.DOTALL).match(pattern, start)
    if closing is None:
        raise ValueError("'[' is never closed")
    return closing.end() - 1


def _character_class(content: str) -> str:
    """One `[...]` as a regular expression; `content` is what stands between the brackets."""
    negated = content.startswith("^")
    members = re.findall(r"(\\.|[^-\\])(?:-(\\.|[^-\\]))?", content[negated:], re.DOTALL)
    if not members or "".join(f"{low}-{high}" if high else low for low, high in members) != content[negated:]:
        raise ValueError(f"'[{content}]' is no set of characters")
    ranges = [re.escape(low[-1]) + (f"-{re.escape(high[-1])}" if high else "") for low, high in members]
    return f"[{'^' if negated else ''}{''.join(ranges)}]"
