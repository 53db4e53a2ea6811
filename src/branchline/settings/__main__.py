"""Writes all documents that are made from the settings: `python -m branchline.settings docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from branchline.settings.reference import application_page, platform_page
from branchline.settings.schema import application_schema, platform_schema, schema_text
from branchline.settings.template import application_example, platform_example


def documents() -> dict[str, str]:
    """The text of each document, by its path below the docs directory."""
    return {
        "branchline.schema.json": schema_text(application_schema()),
        "platform.schema.json": schema_text(platform_schema()),
        "examples/branchline.toml": application_example(),
        "examples/platform.toml": platform_example(),
        "reference/branchline-toml.md": application_page(),
        "reference/platform.md": platform_page(),
    }


if __name__ == "__main__":
    for name, text in documents().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
