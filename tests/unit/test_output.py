"""What commands print: tables and facts on terminals of any width, and nothing that would take a terminal over."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchline.cli.output import age, hang, paint, sign, size, table, url
from branchline.printable import printable
from tests.terminals import Terminal, terminal

HEADER = ("BRANCH", "URL", "COMMIT", "STATE", "AGE", "MEMORY")
LONG = "feature/" + "a-long-name/" * 20 + "end"
ROWS = [
    ("main", "http://main--shop.localhost:8080", "4a21e1b1c2d3", "ready", "3d", "14 MiB"),
    (
        "feature/dark-mode",
        "http://dark-mode--shop.localhost:8080",
        "f07c902a3786",
        "ready (last failed)",
        "5m",
        "896 KiB",
    ),
    ("日本語/機能", "http://b-fb3ac47--shop.localhost:8080", "b008380aa9b8", "failed", "1h", "-"),
]


def drawn(
    statement: str, *, columns: int = 80, env: Mapping[str, str] | None = None, rows: Sequence[object] = ROWS
) -> Terminal:
    """What the statement prints on a terminal of so many columns."""
    program = f"from branchline.cli.output import *\nHEADER, ROWS = {HEADER!r}, {rows!r}\n{statement}"
    with terminal([sys.executable, "-c", program], cwd=Path("/"), env=env or {}, columns=columns) as shown:
        assert shown.end() == 0, shown.text
    return shown


def test_a_table_that_fits_is_one_line_a_row() -> None:
    lines = drawn("table(HEADER, ROWS)", columns=105).lines
    assert lines[:3] == [
        "BRANCH             URL                                    COMMIT        STATE                AGE  MEMORY",
        "main               http://main--shop.localhost:8080       4a21e1b1c2d3  ready                3d   14 MiB",
        "feature/dark-mode  http://dark-mode--shop.localhost:8080  f07c902a3786  ready (last failed)  5m   896 KiB",
    ]
    assert len(lines) == 4


@pytest.mark.parametrize("columns", [80, 104])
def test_where_it_does_not_fit_each_url_stands_whole_on_a_line_of_its_own(columns: int) -> None:
    assert drawn("table(HEADER, ROWS)", columns=columns).lines == [
        "BRANCH             COMMIT        STATE                AGE  MEMORY",
        "main               4a21e1b1c2d3  ready                3d   14 MiB",
        "  http://main--shop.localhost:8080",
        "feature/dark-mode  f07c902a3786  ready (last failed)  5m   896 KiB",
        "  http://dark-mode--shop.localhost:8080",
        "日本語/機能        b008380aa9b8  failed               1h   -",
        "  http://b-fb3ac47--shop.localhost:8080",
    ]


def test_wide_characters_keep_the_columns_straight() -> None:
    """The screen has an empty cell after each wide character, which `lines` leaves out."""
    shown = drawn("table(HEADER, ROWS)")
    places = {line.index(commit) for line, commit in zip(shown.lines[1::2], ("4a21", "f07c"), strict=False)}
    (wide,) = (line for line in shown.lines if "b008" in line)
    assert places == {wide.index("b008") + 5}


@pytest.mark.parametrize("columns", [30, 80, 150])
def test_a_long_branch_is_whole_on_a_line_of_its_own_and_moves_nobody_else(columns: int) -> None:
    rows = [*ROWS, (LONG, "http://feature-a-long--shop.localhost:8080", "000000000000", "ready", "5s", "1 MiB")]
    shown = drawn("table(HEADER, ROWS)", columns=columns, rows=rows)
    assert LONG in "".join(shown.lines)
    assert shown.raw.decode().count(LONG) == 1, "the terminal wraps it, so that it can be copied"
    for _, address, *_ in rows:
        assert address in shown.raw.decode()
    if columns > 30:
        commits = [
            line.index("4a21" if "4a21" in line else "0000") for line in shown.lines if "4a21" in line or "0000" in line
        ]
        assert len(set(commits)) == 1


def test_projects_have_a_column_of_their_own() -> None:
    rows = [("shop", *ROWS[0]), ("store", *ROWS[1])]
    lines = drawn("table(('PROJECT', *HEADER), ROWS)", rows=rows).lines
    assert lines[0].split() == ["PROJECT", "BRANCH", "COMMIT", "STATE", "AGE", "MEMORY"]
    assert lines[3].startswith("store    feature/dark-mode  f07c902a3786")


def test_without_a_terminal_a_table_is_one_line_a_row_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    table(HEADER, [*ROWS, (LONG, *ROWS[0][1:])])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert [line.split("  ")[0] for line in lines] == ["BRANCH", *(row[0] for row in ROWS), LONG]


def test_states_have_colours_on_a_terminal_that_wants_them() -> None:
    assert b"\x1b[32mready" in drawn("table(HEADER, ROWS)").raw
    assert b"\x1b[31mfailed" in drawn("table(HEADER, ROWS)").raw


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_no_styles_where_they_are_not_wanted_or_not_known(env: dict[str, str]) -> None:
    shown = drawn("table(HEADER, ROWS)\nclick.echo(paint('x', fg='red'))\nurl('http://x')\nhang('a ', 'b')", env=env)
    assert b"\x1b" not in shown.raw


def test_text_beside_a_label_is_wrapped_in_its_own_column_and_no_word_is_broken() -> None:
    address = "http://" + "x" * 40 + "--shop.localhost:8080"
    shown = drawn(
        f"hang(paint('failed     ', bold=True), 'the container ended, see {address} for-more-of it')", columns=40
    )
    assert shown.raw.decode().count(address) == 1
    assert shown.lines[:2] == ["failed     the container ended, see", f"           {address[:29]}"]
    assert shown.lines[-1] == "           for-more-of it"


def test_without_a_terminal_text_beside_a_label_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    hang(paint("error: ", err=True, fg="red"), "word " * 50, err=True)
    assert capsys.readouterr().err == "error: " + "word " * 50 + "\n"


def test_a_url_is_alone_where_a_script_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    url("http://main--shop.localhost:8080")
    assert capsys.readouterr().out == "http://main--shop.localhost:8080\n"
    assert drawn("url('http://main--shop.localhost:8080')").lines == ["  http://main--shop.localhost:8080"]


def test_signs_are_ascii_where_the_encoding_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert (sign("ok"), sign("failure"), sign("remedy")) == ("✓", "✗", "→")
    plain = drawn("print(sign('ok'), sign('failure'), sign('remedy'))", env={"PYTHONIOENCODING": "latin-1"})
    assert plain.lines == ["ok x ->"]


HOSTILE = {
    "\x1b[2Jcleared": "cleared",
    "\x1b[31mred\x1b[0m": "red",
    "\x1b]0;title\x07after": "after",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b]52;c;Y3VybCBldmlsfHNo\x07clipboard": "clipboard",
    "\x1bPdevice\x1b\\after": "after",
    "\x9b31mred": "red",
    "\x9dtitle\x9cafter": "after",
    "\x1b(0line": "line",
    "\x1b]never ended": "never ended",
    "\x1b": "�",
    "over\rwritten": "over�written",
    "back\b\b\b\bspace": "back����space",
    "bell\a": "bell�",
    "\u202egnp.exe": "�gnp.exe",
    "a\tb": "a       b",
    "two\nlines": "two\nlines",
    "[red]markup[/]": "[red]markup[/]",
    "caf\udce9": "caf\\xe9",
    "half \ud83d": "half �",
    "grüß 日本 🚀": "grüß 日本 🚀",
}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_from_elsewhere_is_made_safe_and_stays_readable(text: str) -> None:
    assert printable(text) == HOSTILE[text]


@given(st.text(st.characters(codec=None) | st.sampled_from("\x1b[]\x07\x9b\x9c;m\udcff"), max_size=60))
def test_no_text_can_move_the_cursor_or_fail_to_be_printed(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert [character for character in shown if unicodedata.category(character) == "Cc" and character != "\n"] == []
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86400 * 3, "3d"), (-5, "0s")]
)
def test_ages_have_one_unit(seconds: int, text: str) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert age(now - timedelta(seconds=seconds), now) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0 B"), (900 * 1024, "900 KiB"), (1 << 30, "1 GiB"), (1 << 45, "32768 GiB")]
)
def test_sizes_have_one_unit(count: int | None, text: str) -> None:
    assert size(count) == text
