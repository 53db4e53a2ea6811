"""What a Dockerfile says about its last stage, as far as `branchline init` needs it. Nothing is built or fetched.

What a base image brings along is unknown here, so an empty answer only means that this file doesn't say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

_ESCAPE_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*\w+\s*=")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?(['\"]?)(\w+)\1(?=\s|$)")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^{}]*))?\})")
_STAGE = re.compile(r"[a-z][a-z0-9._-]*", re.IGNORECASE)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/tcp)?", re.IGNORECASE)
_HAVE_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})


_Values = dict[str, str | None]
"""Variables; None where the value depends on what is not in the file."""


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """What the last stage's image has, if nobody overrides the build arguments."""

    stages: tuple[str, ...] = ()
    """Every stage's name, or its number where it has none."""
    ports: tuple[int, ...] = ()
    """The TCP ports that EXPOSE names, in their order."""
    healthcheck: bool = False
    port_variable: int | None = None
    """What ENV sets PORT to."""


@dataclass(slots=True)
class _Stage:
    name: str
    variables: _Values = field(default_factory=dict[str, str | None])
    """ARG and ENV together. ENV wins, whichever comes later."""
    fixed: set[str] = field(default_factory=set[str])
    """The names that ENV has set."""
    ports: list[int] = field(default_factory=list[int])
    healthcheck: bool = False


def read(text: str) -> Dockerfile:
    """What the Dockerfile's text says. What can't be understood is passed over, since the build will say so."""
    arguments: _Values = {}
    stages: list[_Stage] = []
    for instruction, rest in _instructions(text):
        if instruction == "FROM":
            stages.append(_begin(rest, arguments, stages))
        elif stages:
            _apply(instruction, rest, stages[-1], arguments)
        elif instruction == "ARG":
            arguments |= _assignments(rest, arguments)
    if not stages:
        return Dockerfile()
    last = stages[-1]
    port = last.variables["PORT"] if "PORT" in last.fixed else None
    return Dockerfile(
        stages=tuple(stage.name for stage in stages),
        ports=tuple(dict.fromkeys(last.ports)),
        healthcheck=last.healthcheck,
        port_variable=next(iter(_ports(port or "")), None),
    )


def _begin(rest: str, arguments: _Values, stages: list[_Stage]) -> _Stage:
    """A new stage, with all that the stage it is built from has."""
    words = [word for word in rest.split() if not word.startswith("--")]
    named = len(words) >= 3 and words[1].upper() == "AS" and _STAGE.fullmatch(words[2])
    name = words[2].lower() if named else str(len(stages))
    base = (_substitute(words[0], arguments) or "").lower() if words else ""
    for stage in stages:
        if stage.name == base and not base.isdigit():
            return _Stage(name, dict(stage.variables), set(stage.fixed), list(stage.ports), stage.healthcheck)
    return _Stage(name)


def _apply(instruction: str, rest: str, stage: _Stage, arguments: _Values) -> None:
    """Notes what one instruction does to its stage."""
    if instruction == "ENV":
        words = rest.split(maxsplit=1)
        if len(words) == 2 and "=" not in words[0]:  # the old form, ENV NAME value
            rest = f"{words[0]}={shlex.quote(words[1])}"
        values = _assignments(rest, stage.variables)
        stage.variables |= values
        stage.fixed |= values.keys()
    elif instruction == "ARG":
        for name, value in _assignments(rest, stage.variables).items():
            if name not in stage.fixed:
                stage.variables[name] = value if value is not None else arguments.get(name)
    elif instruction == "EXPOSE":
        for word in rest.split():
            stage.ports += _ports(_substitute(word, stage.variables) or "")
    elif instruction == "HEALTHCHECK":
        stage.healthcheck = rest.strip().upper() != "NONE"


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction in capitals with the rest of its line; no comments, no heredocs."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape(lines)
    pending = ""
    remaining = iter(lines)
    for line in remaining:
        if not line.strip() or line.lstrip().startswith("#"):
            continue  # also between continued lines
        if line.rstrip().endswith(escape):
            pending += line.rstrip()[:-1] + " "
            continue
        instruction, rest = _divide(pending + line)
        pending = ""
        yield instruction, rest
        if instruction in _HAVE_HEREDOCS:
            for _, end in _HEREDOC.findall(rest):
                _skip_to(remaining, end)
    if pending.strip():
        yield _divide(pending)


def _divide(line: str) -> tuple[str, str]:
    """The instruction in capitals, and its arguments."""
    instruction, *rest = line.split(maxsplit=1)
    return instruction.upper(), "".join(rest).rstrip()


def _skip_to(lines: Iterator[str], end: str) -> None:
    """Reads on to the line that ends a heredoc."""
    for line in lines:
        if line.strip("\t") == end:
            return


def _escape(lines: list[str]) -> str:
    r"""The character that continues a line: `\`, unless a directive among the first lines says otherwise."""
    for line in lines:
        if found := _ESCAPE_DIRECTIVE.match(line):
            return found[1]
        if not _DIRECTIVE.match(line):
            break
    return "\\"


def _assignments(rest: str, variables: _Values) -> _Values:
    """What an ARG or ENV line sets: a name without a value is there with None, and so is a value that is unknown."""
    try:
        words = shlex.split(rest)
    except ValueError:
        return {}
    values: _Values = {}
    for word in words:
        name, given, value = word.partition("=")
        values[name] = _substitute(value, variables) if given else None
    return values


def _substitute(text: str, variables: _Values) -> str | None:
    """The text with its `$NAME`, `${NAME:-default}` and `${NAME:+other}` filled in; None where a value is unknown."""
    unknown = False

    def value(match: re.Match[str]) -> str:
        nonlocal unknown
        found = variables.get(match[1] or match[2])
        condition, word = match[3] or "", match[4] or ""
        usable = found if found or not condition.startswith(":") else None
        if condition.endswith("+"):
            return word if usable is not None else ""
        if usable is None and condition:
            return word
        unknown = unknown or usable is None
        return usable or ""

    result = _VARIABLE.sub(value, text)
    return None if unknown else result


def _ports(text: str) -> list[int]:
    """The ports in `8000`, `8000/tcp` or `8000-8002`; none where it is something else."""
    found = _PORTS.fullmatch(text.strip())
    if not found:
        return []
    first = int(found[1])
    last = int(found[2] or first)
    return list(range(first, last + 1)) if 1 <= first <= last <= 65535 else []
