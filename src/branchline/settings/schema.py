"""JSON Schemas of the two settings files, for editors to complete and check them while they are written."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from branchline.settings.application import Application
from branchline.settings.platform import PlatformSettings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def application_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `branchline.toml`."""
    return _schema(Application, "branchline.toml")


def platform_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `platform.toml`."""
    return _schema(PlatformSettings, "platform.toml")


def schema_text(schema: dict[str, Any]) -> str:
    """The schema as it is published."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _schema(struct: type[Struct], title: str) -> dict[str, Any]:
    schema = msgspec.json.schema(struct)
    tables = schema["$defs"]
    document = tables.pop(struct.__name__) | {"$schema": _DIALECT, "title": title}
    for table in [document, *tables.values()]:
        del table["required"]  # always empty: every key has a default
        table["properties"] = {name: _without_null(value) for name, value in table["properties"].items()}
    # The dialect first, for people who open the file.
    return {"$schema": _DIALECT} | document | {"$defs": tables}


def _without_null(key: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: a key that may be None is one that may be left out."""
    if "anyOf" not in key:
        return key
    (kind,) = (each for each in key["anyOf"] if each != {"type": "null"})
    return {name: value for name, value in key.items() if name not in {"anyOf", "default"}} | kind
