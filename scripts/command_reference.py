"""Writes the reference of the commands from their own help: `scripts/command_reference.py docs/reference/commands.md`.

A test compares the page with what this would write.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from branchline.cli.main import cli

_HEAD = """\
# Commands

Written from the commands' own help by `scripts/command_reference.py`; `branchline COMMAND --help` says the same.

- Results go to standard output; progress, warnings and errors go to standard error. `branchline deploy` prints the URL
  and nothing else on standard output.
- Without `--project`, the project is the one that `branchline.toml` names, or else it is called like the repository.
  Without a BRANCH, it is the checked-out one.
- `--json` prints one JSON document, whose shape [the reference of JSON output](json.md) gives.
- Each command reads [the operator's settings](platform.md), and
  [exit codes](exit-codes.md) tell a script how it ended.
"""


def page() -> str:
    """The page's text."""
    root = click.Context(cli, info_name="branchline")
    return "\n".join([_HEAD, *_sections(cli, root)])


def _sections(group: click.Group, context: click.Context) -> Iterator[str]:
    """A section for each command of the group, and for those of the groups in it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        yield _section(command, inner)
        if isinstance(command, click.Group):
            yield from _sections(command, inner)


def _section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"## {context.command_path}", "", "```text", usage, "```", "", inspect.cleandoc(command.help or "")]
    options = [item for item in command.params if isinstance(item, click.Option)]
    if options:
        lines += ["", "| option | meaning |", "| --- | --- |"]
    for names, meaning in filter(None, (option.get_help_record(context) for option in options)):
        cells = (f"`{names}`", " ".join(meaning.split()))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
