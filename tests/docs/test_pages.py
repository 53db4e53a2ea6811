"""What the pages say exists: links, commands and their options, settings, messages, tests."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from branchline.cli.main import cli
from branchline.settings.variables import CONTAINER_VARIABLES, FILE_VARIABLE, variable_names
from scripts.command_reference import page
from tests.docs.pages import DOCS, ROOT, Block, blocks, commands, first_cells, named, pages, without_blocks

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_INLINE = re.compile(r"`(branchline [^`]+)`", re.DOTALL)
_IN_SCRIPT = re.compile(r"(?:^|[\s=(/])branchline ([^\n|);]*)", re.MULTILINE)

every_page = pytest.mark.parametrize("path", pages(), ids=named)


def anchors(text: str) -> set[str]:
    """The headings as they are linked to."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(without_blocks(text)))
    return {title.replace(" ", "-") for title in titles}


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(without_blocks(path.read_text())):
        if re.match("https?:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{named(path)} links to {target}"
        assert not anchor or anchor in anchors(there.read_text()), f"{named(path)} links to {target}"


def test_every_page_is_listed_in_the_index() -> None:
    listed = {(DOCS / target).resolve() for target in _LINK.findall((DOCS / "index.md").read_text())}
    assert {path for path in DOCS.rglob("*.md") if path.name != "benchmarks.md"} - listed == {DOCS / "index.md"}


def command_lines(path: Path) -> Iterator[str]:
    """Each `branchline …` of the page, in its prose and in the commands and scripts that it shows."""
    text = path.read_text()
    yield from (re.sub(r"\s+", " ", line) for line in _INLINE.findall(without_blocks(text)))
    for block in blocks(text):
        if block.language in ("console", "sh"):
            for command, _ in commands(block):
                yield from called(command)
        elif block.language in ("bash", "yaml", "ini", "text") and "$ " not in block.text:
            yield from called(script(block))


def script(block: Block) -> str:
    """What the block has somebody run; a diagram has nothing."""
    return "\n".join(line for line in block.text.splitlines() if "─" not in line and "│" not in line)


def called(text: str) -> Iterator[str]:
    for line in _IN_SCRIPT.findall(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)):
        yield f"branchline {line.split('  #')[0].strip()}"


def parse(line: str) -> None:
    """Has click read the command line, and run nothing.

    Raises:
        click.UsageError: there is no such command or option, or an argument is missing.
    """
    words = shlex.split(line)[1:]
    group, context = cli, click.Context(cli, info_name="branchline")
    while words:
        name, words = words[0], words[1:]
        if name.startswith("-"):
            group.make_context("branchline", [name, *words], resilient_parsing=True)
            return
        _, command, _ = group.resolve_command(context, [name])
        assert command is not None
        if isinstance(command, click.Group):
            group, context = command, click.Context(command, info_name=name, parent=context)
            continue
        command.make_context(name, words, parent=context)
        return


@every_page
def test_command_lines_can_be_read_by_the_command(path: Path) -> None:
    for line in command_lines(path):
        if "…" in line or "[OPTIONS]" in line or re.match(r"branchline [A-Z]+ ", line):
            continue
        try:
            parse(line)
        except click.UsageError as error:
            # In prose, `branchline exec` names the command.
            if not (isinstance(error, click.MissingParameter) and len(line.split()) == 2):
                pytest.fail(f"{named(path)}: {line}: {error.format_message()}")


def test_the_check_of_command_lines_notices_what_does_not_exist() -> None:
    for line in ("branchline deploy --brunch x", "branchline lst", "branchline router begin", "branchline list x"):
        with pytest.raises(click.UsageError):
            parse(line)
    parse('branchline deploy --branch "$BRANCH" --commit 1234')


def test_the_reference_of_commands_is_in_step_with_their_help() -> None:
    written = (DOCS / "reference" / "commands.md").read_text()
    assert written == page(), "run: python scripts/command_reference.py docs/reference/commands.md"


def test_every_command_that_prints_json_is_in_its_reference() -> None:
    def printing(group: click.Group, context: click.Context) -> Iterator[str]:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            inner = click.Context(command, info_name=name, parent=context)
            if isinstance(command, click.Group):
                yield from printing(command, inner)
            if any("--json" in parameter.opts for parameter in command.params):
                yield f"{inner.command_path} --json"

    listed = {cell for cell in first_cells((DOCS / "reference" / "json.md").read_text()) if " " in cell}
    assert listed == set(printing(cli, click.Context(cli, info_name="branchline")))


def test_every_command_is_in_the_readme() -> None:
    listed = [cell.removeprefix("branchline ") for cell in first_cells((ROOT / "README.md").read_text())]
    assert listed == cli.list_commands(click.Context(cli))


@every_page
def test_environment_variables_exist(path: Path) -> None:
    known = {*variable_names(), *CONTAINER_VARIABLES, FILE_VARIABLE}
    assert set(re.findall(r"BRANCHLINE_[A-Z_]*[A-Z]", path.read_text())) - known == set()


def test_the_messages_of_troubleshooting_exist() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    quoted = re.findall(r"^### `(.+)`$", (DOCS / "how-to" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 20
    for message in quoted:
        for part in filter(None, (part.strip() for part in message.split("…"))):
            assert part in source, f"no message has {part!r}"


@every_page
def test_tests_that_are_named_exist(path: Path) -> None:
    known = {str(file.relative_to(ROOT)): file.name for file in (ROOT / "tests").rglob("*.py")}
    for name in re.findall(r"`([\w/]*test_\w+\.py)`", path.read_text()):
        assert name in known or name in known.values(), f"{named(path)} names {name}"


def test_the_floors_are_those_that_import_linter_holds() -> None:
    contracts = re.findall(r'^    "(branchline\.[^"]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    layers = contracts[: contracts.index("branchline.errors") + 1]
    drawn = next(block for block in blocks((DOCS / "architecture.md").read_text()) if "│ lifecycle" in block.text)
    floors = [re.split(r" {2,}", line)[0] for line in drawn.text.splitlines()]
    assert [re.split(" │ ", floor) for floor in floors] == [
        [room.removeprefix("branchline.") for room in re.split(" [:|] ", layer)] for layer in layers
    ]


@pytest.mark.parametrize("name", ["start-at-boot.md", "keep-the-disk-tidy.md"])
def test_units_are_well_formed(name: str) -> None:
    units = [block.text for block in blocks((DOCS / "how-to" / name).read_text()) if block.language == "ini"]
    assert units
    for text in units:
        unit = configparser.ConfigParser(strict=False)  # systemd takes a key more than once
        unit.read_string(text)
        assert set(unit.sections()) <= {"Unit", "Service", "Install", "Timer"}
