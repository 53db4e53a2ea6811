"""All that is wrong with a settings document, in the user's words. Only loaded once something is.

msgspec stops at the first value that doesn't fit, so each key is tried for itself here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any, cast

import msgspec
from msgspec import Struct, inspect

from branchline.errors import ConfigurationError
from branchline.settings.keys import Path, dotted, expected, quoted, sections, table_type
from branchline.settings.lines import key_lines
from branchline.settings.rules import Problem
from branchline.settings.variables import FILE_VARIABLE, PREFIX, variable_names

_LIKE_ENOUGH = 0.7
_MOST_SHOWN = 50
_HUGE = 10**30
_CONFIDENTIAL = (("env",), ("build", "args"))
"""Tables whose values may be secrets, so no error shows them."""


def examine(document: Mapping[str, Any], struct: type[Struct]) -> tuple[dict[str, Any], list[Problem]]:
    """The part of the document that fits the struct, and what is wrong with the rest."""
    known = tuple(sections(struct))
    keys = [key.name for section in known for key in section.keys]
    tables = [".".join(section.path) for section in known if section.path]

    def examine_table(table: Mapping[str, Any], struct: type[Struct], path: Path) -> dict[str, Any]:
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        fitting: dict[str, Any] = {}
        for name, value in table.items():
            here = (*path, name)
            field = fields.get(name)
            if field is None:
                # Looking for the nearest takes a millisecond, and beyond these no problem is shown.
                candidates = tables if isinstance(value, dict) else keys
                problems.append(Problem(here, _unknown(here, candidates if len(problems) < _MOST_SHOWN else ())))
            elif (inner := table_type(field)) is None:
                found = list(_examine_value(value, field.type, here))
                problems.extend(found)
                if not found:
                    fitting[name] = value
            elif isinstance(value, dict):
                fitting[name] = examine_table(cast("dict[str, Any]", value), inner, here)
            else:
                problems.append(Problem(here, f"expected a table, got {_shown(value, here)}"))
        return fitting

    problems: list[Problem] = []
    return examine_table(document, struct, ()), problems


def _examine_value(value: Any, kind: Any, path: Path) -> Iterable[Problem]:
    """What is wrong with a key's value; entry by entry where it has several."""
    if _fits(value, kind):
        return
    got = "an empty list" if value == [] else _shown(value, path)
    known = inspect.type_info(kind)
    bare = known.type if isinstance(known, inspect.Metadata) else known
    if isinstance(bare, inspect.DictType) and isinstance(value, dict):
        for name, entry in cast("dict[str, Any]", value).items():
            if _fits({name: entry}, kind):
                continue
            here = (*path, name)
            if _fits({name: ""}, kind):
                yield Problem(here, f"expected {expected(bare.value_type)}, got {_shown(entry, here)}")
            else:
                yield Problem(here, f"expected {expected(bare.key_type)}")
    elif isinstance(bare, inspect.ListType) and isinstance(value, list) and value:
        for position, item in enumerate(cast("list[Any]", value)):
            if not _fits([item], kind):
                here = (*path, position)
                yield Problem(here, f"expected {expected(bare.item_type)}, got {_shown(item, here)}")
    else:
        yield Problem(path, f"expected {expected(known)}, got {got}")


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _shown(value: object, path: Path) -> str:
    """The value as the user wrote it, or only its kind where it is long or may be secret."""
    confidential = any(path[: len(each)] == each for each in _CONFIDENTIAL)
    if isinstance(value, str):
        return "other text" if confidential else quoted(value)
    if isinstance(value, bool):
        return "true or false" if confidential else str(value).lower()
    if isinstance(value, int | float):
        return "a number" if confidential or abs(value) >= _HUGE else str(value)
    return {"dict": "a table", "list": "a list"}.get(type(value).__name__, "a date or time")


def _unknown(path: Path, names: Iterable[str]) -> str:
    """That there is no such key, and the nearest that there is."""
    likely = nearest(".".join(map(str, path))[:100], names)
    return f"unknown key; did you mean {likely}?" if likely else "unknown key"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, wherever it is: `memory` is like `limits.memory`. Of equals, the first."""

    def likeness(candidate: str) -> float:
        plain, other = name.lower().replace("-", "_"), candidate.lower()
        in_full = SequenceMatcher(None, plain, other).ratio()
        last = SequenceMatcher(None, plain.rpartition(".")[2], other.rpartition(".")[2]).ratio()
        return max(in_full, 0.99 * last)

    best = max(known, key=likeness, default=None)
    return best if best and likeness(best) >= _LIKE_ENOUGH else None


def failure(
    problems: Iterable[Problem],
    where: str,
    text: str,
    *,
    sources: Mapping[Path, str],
    unknown_variables: Iterable[str],
    remedy: str,
) -> ConfigurationError:
    """One error with a line for each problem: `file:line: key: message`.

    `sources` has the environment variable that a value came from, which is then named in place of file and key.
    """
    lines = key_lines(text)
    said: list[str] = []
    for path, message, _ in sorted(problems, key=lambda problem: lines.get(problem.path, 0)):
        if path in sources:
            said.append(f"{sources[path]}: {message}")
        else:
            at = f"{where}:{lines[path]}" if path in lines else where
            said.append(f"{at}: {dotted(path)}: {message}")
    for variable in unknown_variables:
        known = [name.removeprefix(PREFIX) for name in (*variable_names(), FILE_VARIABLE)]
        likely = nearest(variable.removeprefix(PREFIX), known)
        hint = f"; did you mean {PREFIX}{likely}?" if likely else ""
        said.append(f"{variable}: unknown variable{hint}")
    if len(said) > _MOST_SHOWN:
        said[_MOST_SHOWN:] = [f"{where}: and {len(said) - _MOST_SHOWN} more"]
    return ConfigurationError("\n".join(said), remedy=remedy)


def syntax_failure(error: Exception, where: str) -> ConfigurationError:
    """The error for a text that is not TOML. The text itself isn't shown, since it may hold secrets."""
    found = re.fullmatch(
        r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", f"{error}"
    )
    if not found:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        return ConfigurationError(f"{where}: not valid TOML: {what}", remedy="correct the file")
    what = found["what"][:1].lower() + found["what"][1:]
    hint = "text values go in quotes" if what == "invalid value" else "see https://toml.io for the format"
    if found["line"]:
        message = f"{where}:{found['line']}: not valid TOML: {what}, at column {found['column']}"
    else:
        # Such as a missing bracket: the mistake may be lines before.
        message = f"{where}: not valid TOML: {what}, up to the end of the file"
    return ConfigurationError(message, remedy=hint)
