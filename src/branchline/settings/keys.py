"""The settings' keys as data, read off the structs: for error messages, the reference pages and the templates."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getdoc
from typing import Any, cast

import msgspec
from msgspec import NODEFAULT, Struct, inspect

_LONGEST_SHOWN = 60

Path = tuple[str | int, ...]
"""Where a value is: names of tables and keys, and positions in lists."""


class Key(Struct, frozen=True):
    """One key that may be set."""

    path: tuple[str, ...]
    description: str
    expected: str
    """What its value must be, in words that follow "expected"."""
    default: object
    example: object
    """A value worth showing: the struct's own example, or else the default."""

    @property
    def name(self) -> str:
        """The key with its tables, as in `health.timeout`."""
        return ".".join(self.path)


class Section(Struct, frozen=True):
    """A table of keys; the first one of a file has an empty path."""

    path: tuple[str, ...]
    description: str
    keys: tuple[Key, ...]


def sections(struct: type[Struct], path: tuple[str, ...] = ()) -> Iterator[Section]:
    """The struct's own keys as one section, then those of its tables, in the structs' order."""
    own: list[Key] = []
    tables: list[tuple[type[Struct], tuple[str, ...]]] = []
    for field in msgspec.structs.fields(struct):
        here = (*path, field.encode_name)
        if table := table_type(field):
            tables.append((table, here))
            continue
        known = inspect.type_info(field.type)
        schema: dict[str, Any] = {}
        if isinstance(known, inspect.Metadata):
            schema = cast("dict[str, Any]", known.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        examples = schema.get("examples") or [default]
        own.append(Key(here, schema.get("description", ""), expected(known), default, examples[0]))
    yield Section(path, getdoc(struct) or "", tuple(own))
    for table, here in tables:
        yield from sections(table, here)


def table_type(field: msgspec.structs.FieldInfo) -> type[Struct] | None:
    """The struct that describes the field, if the field is a table of keys."""
    return field.type if isinstance(field.type, type) and issubclass(field.type, Struct) else None


def expected(known: inspect.Type) -> str:  # noqa: PLR0911 (one for each type)
    """What a value of the type must be, in words that follow "expected"."""
    match known:
        case inspect.Metadata(extra={"expected": str(words)}):
            return words
        case inspect.Metadata():
            return expected(known.type)
        case inspect.UnionType():
            return " or ".join(expected(each) for each in known.types if not isinstance(each, inspect.NoneType))
        case inspect.LiteralType():
            *others, last = (f'"{value}"' for value in known.values)
            return f"{', '.join(others)} or {last}"
        case inspect.IntType():
            return f"a whole number{_limits(known)}"
        case inspect.FloatType():
            return f"a number{_limits(known)}"
        case inspect.DictType():
            return 'a table of lines such as NAME = "value"'
        case _:
            return "text in quotes"


def _limits(known: inspect.IntType | inspect.FloatType) -> str:
    """The range of a number that has an upper limit, as all of them have."""
    return f" above {known.gt} and up to {known.le}" if known.gt is not None else f" from {known.ge} to {known.le}"


def dotted(path: Path) -> str:
    """The path as TOML writes it, and list items as `branches.include[0]`; long names are cut."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{written(part)}" if text else written(part)
    return text


def written(name: str) -> str:
    """A key's name, in quotes where TOML needs them."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum() and len(name) <= _LONGEST_SHOWN
    return name if bare else quoted(name)


def quoted(text: str) -> str:
    """The text in quotes, with anything unprintable escaped as in JSON and TOML; cut where it is long."""
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    # Environment variables that are not UTF-8 arrive as lone surrogates.
    return msgspec.json.encode(shown.encode("utf-8", "backslashreplace").decode()).decode()
