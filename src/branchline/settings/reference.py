"""The reference pages of the settings files, written from the structs so that they can't be out of step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from branchline.settings.application import Application
from branchline.settings.keys import Key, Section, sections
from branchline.settings.platform import PlatformSettings
from branchline.settings.template import toml_value
from branchline.settings.variables import variable_name

_APPLICATION = """# branchline.toml

What the developers of an application say about their project. The file lies at the root of the repository and is read
from the commit that is deployed, so each branch can bring its own. All keys are optional; without a file, all have
their defaults. `branchline init` writes one with every key explained, and
[an example with every key](../examples/branchline.toml) is part of this documentation. Editors complete and check it
with [its JSON Schema](../branchline.schema.json).

Unknown keys, wrong types and impossible values are errors, all reported at once with their lines:

```
branchline.toml:12: health.timout: unknown key; did you mean health.timeout?
branchline.toml:3: port: expected a whole number from 1 to 65535, got "80a"
```
"""

_PLATFORM = """# platform.toml

What the operator of a platform says about it, apart from any application. Each key can be set in one TOML file or by
its environment variable, which wins. The file is the one that `BRANCHLINE_CONFIG` names, or else the first that exists
of these; without any, all keys have their defaults:

1. `$XDG_CONFIG_HOME/branchline/platform.toml` (where that variable is unset: `~/.config/branchline/platform.toml`)
2. `/etc/branchline/platform.toml`

[An example with every key](../examples/platform.toml) is part of this documentation. Editors complete and check the
file with [its JSON Schema](../platform.schema.json).

Unknown keys, unknown `BRANCHLINE_…` variables, wrong types and impossible values are errors, all reported at once.
Only `BRANCHLINE_BRANCH`, `BRANCHLINE_COMMIT`, `BRANCHLINE_URL` and `BRANCHLINE_PROJECT` are let pass: they tell the
application in an environment what it is.
"""


def application_page() -> str:
    """The reference page of `branchline.toml`, in Markdown."""
    return reference_page(Application, _APPLICATION)


def platform_page() -> str:
    """The reference page of `platform.toml`, in Markdown."""
    return reference_page(PlatformSettings, _PLATFORM, variables=True)


def reference_page(struct: type[Struct], introduction: str, *, variables: bool = False) -> str:
    """A page with a table of keys for each of the struct's sections; `variables` adds their environment variables."""
    blocks = [introduction.rstrip("\n")]
    for section in sections(struct):
        blocks += _section(section, variables)
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, variables: bool) -> Iterator[str]:
    if section.path:
        yield f"## [{'.'.join(section.path)}]\n\n{section.description}"
    else:
        yield "## At the top"
    heads = ["Key", "Meaning", "Value", "Default", *(["Environment variable"] if variables else [])]
    yield "\n".join([_row(heads), _row(["---"] * len(heads)), *(_key(key, variables) for key in section.keys)])


def _key(key: Key, variables: bool) -> str:
    default = "unset" if key.default is None else f"`{toml_value(key.default)}`"
    cells = [f"`{key.path[-1]}`", key.description, key.expected, default]
    return _row([*cells, f"`{variable_name(key.path)}`"] if variables else cells)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
