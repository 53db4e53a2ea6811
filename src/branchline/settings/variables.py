"""The environment variables that set the operator's keys: BRANCHLINE_ROUTER_HTTP_PORT sets `router.http_port`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct

from branchline.settings.keys import Path, table_type
from branchline.settings.platform import PlatformSettings

PREFIX = "BRANCHLINE_"
FILE_VARIABLE = "BRANCHLINE_CONFIG"
"""Names the operator's file."""
CONTAINER_VARIABLES = frozenset({"BRANCHLINE_BRANCH", "BRANCHLINE_COMMIT", "BRANCHLINE_URL", "BRANCHLINE_PROJECT"})
"""Set inside of environments, where they tell the application what it is. They set nothing."""


def variable_name(path: tuple[str, ...]) -> str:
    """The environment variable that sets a key."""
    return PREFIX + "_".join(path).upper()


def variable_names(struct: type[Struct] = PlatformSettings, path: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """The environment variable of every key, and the key that it sets."""
    names: dict[str, tuple[str, ...]] = {}
    for field in msgspec.structs.fields(struct):
        here = (*path, field.encode_name)
        if table := table_type(field):
            names |= variable_names(table, here)
        else:
            names[variable_name(here)] = here
    return names


def overlay(document: dict[str, Any], variables: Mapping[str, str]) -> tuple[dict[Path, str], list[str]]:
    """Puts the environment variables' values into the document.

    Returns the variable that each value came from, and the variables that set nothing.
    """
    sources: dict[Path, str] = {}
    unknown: list[str] = []
    names = variable_names() if variables else {}
    for variable, value in variables.items():
        path = names.get(variable)
        if path is None:
            if variable != FILE_VARIABLE and variable not in CONTAINER_VARIABLES:
                unknown.append(variable)
            continue
        table: Any = document
        default: Any = PlatformSettings()
        for name in path[:-1]:
            table = cast("dict[str, Any]", table).setdefault(name, {}) if isinstance(table, dict) else None
            default = getattr(default, name)
        if isinstance(table, dict):  # otherwise the file is wrong there, and will be reported
            kind = cast("type[Any]", type(getattr(default, path[-1])))
            cast("dict[str, Any]", table)[path[-1]] = _typed(value, kind)
            sources[path] = variable
    return sources, unknown


def _typed(value: str, kind: type[Any]) -> Any:
    """The variable's value as the kind of value that the key has; as it is where it doesn't read so.

    A list or a table is written as JSON.
    """
    try:
        if kind in (list, dict):
            return cast("object", msgspec.json.decode(value, type=kind))
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return value
