"""Annotated settings files, written from the structs: what `branchline init` makes, and the examples in the docs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import cast

import msgspec
from msgspec import Struct

from branchline import dockerfile, naming
from branchline.dockerfile import Dockerfile
from branchline.settings.application import Application
from branchline.settings.keys import Key, Section, sections, written
from branchline.settings.platform import PlatformSettings
from branchline.settings.variables import variable_name

_WIDTH = 100


def annotated(project: str, dockerfile_text: str | None) -> str:
    """A `branchline.toml` for a new project: every key explained, and set only where there is a reason to.

    `project` may be any text, such as a directory's name; the comments say what the Dockerfile's text led to.
    """
    found = dockerfile.read(dockerfile_text) if dockerfile_text is not None else None
    port, why = _port(found)
    values: dict[str, object] = {"project": naming.project(project)}
    notes = {"port": why, "health.path": _health(found), "build.target": _stages(found)}
    if found and len(found.ports) > 1:
        values["port"] = port
    heading = (
        "How Branchline gives each branch of this project a URL. It is read from the deployed commit, so commit it."
        " Every key has a default: where a line is commented out, take the '#' away to set the key."
    )
    suggestions = {"port": port} if port else {}
    return _document(Application, heading, values, notes=notes, suggestions=suggestions)


def application_example() -> str:
    """A `branchline.toml` that sets every key."""
    heading = "An example of every key that branchline.toml may have. All of them are optional."
    return _document(Application, heading, _examples(Application))


def platform_example() -> str:
    """A `platform.toml` that sets every key, with the environment variables that win over it."""
    heading = (
        "An example of every key that the operator may set, in ~/.config/branchline/platform.toml,"
        " /etc/branchline/platform.toml or the file that BRANCHLINE_CONFIG names. All of them are optional,"
        " and an environment variable wins over each."
    )
    notes = {
        key.name: f"Environment variable: {variable_name(key.path)}"
        + (", as JSON" if isinstance(key.default, list | dict) else "")
        for section in sections(PlatformSettings)
        for key in section.keys
    }
    return _document(PlatformSettings, heading, _examples(PlatformSettings), notes=notes)


def _examples(struct: type[Struct]) -> dict[str, object]:
    return {key.name: key.example for section in sections(struct) for key in section.keys}


def _port(found: Dockerfile | None) -> tuple[int | None, str]:
    """The port that the Dockerfile names, and how it does."""
    if found is None:
        return None, "There is no Dockerfile yet to take the port from."
    if len(found.ports) > 1:
        listed = ", ".join(map(str, found.ports[:8])) + (", …" if len(found.ports) > 8 else "")
        return found.ports[
            0
        ], f"The Dockerfile has EXPOSE {listed}; the first is set here. Choose the one that serves HTTP."
    if found.ports:
        return found.ports[0], f"The Dockerfile has EXPOSE {found.ports[0]}, which is used while this is unset."
    if found.port_variable:
        port = found.port_variable
        return port, f"The Dockerfile has no EXPOSE, but sets PORT to {port}, which is used while this is unset."
    return None, "The Dockerfile names no port (no EXPOSE, no PORT): unless its base image does, set it here."


def _health(found: Dockerfile | None) -> str:
    """Which check will be used."""
    return "The Dockerfile has a HEALTHCHECK, which is used while this is unset." if found and found.healthcheck else ""


def _stages(found: Dockerfile | None) -> str:
    """Which stages there are to choose from."""
    if not found or len(found.stages) < 2:
        return ""
    return f"The Dockerfile's stages: {', '.join(found.stages)}."


def _document(
    struct: type[Struct],
    heading: str,
    values: Mapping[str, object],
    *,
    notes: Mapping[str, str] | None = None,
    suggestions: Mapping[str, object] | None = None,
) -> str:
    """A TOML document with every key of the struct: those in `values` are set, others are there as a comment."""
    blocks = ["\n".join(_comment(heading))]
    for section in sections(struct):
        blocks += _section(section, values, notes or {}, suggestions or {})
    return "\n\n".join(blocks) + "\n"


def _section(
    section: Section, values: Mapping[str, object], notes: Mapping[str, str], suggestions: Mapping[str, object]
) -> Iterable[str]:
    """One table's blocks: its keys, and then those that are tables themselves, since TOML wants them last."""
    if section.path:
        yield "\n".join([*_comment(section.description), f"[{'.'.join(section.path)}]"])
    for key in sorted(section.keys, key=lambda key: isinstance(key.example, dict)):
        lines = _comment(key.description)
        if note := notes.get(key.name):
            lines += _comment(note)
        mark = "" if key.name in values else "# "
        value = values.get(key.name, suggestions.get(key.name, _shown(key)))
        if isinstance(value, dict):
            lines.append(f"[{key.name}]")
            entries = cast("dict[str, object]", value)
            lines += [f"{mark}{written(name)} = {toml_value(entry)}" for name, entry in entries.items()]
        else:
            lines.append(f"{mark}{key.path[-1]} = {toml_value(value)}")
        yield "\n".join(lines)


def _shown(key: Key) -> object:
    """What a commented-out key shows: its default, or an example where the default is empty."""
    return key.default if key.default not in (None, "", [], {}) else key.example


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)]


def toml_value(value: object) -> str:
    """A text, number or list of texts as TOML writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    # TOML's strings know all of JSON's escapes.
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
