"""The lines that keys stand on, in all the ways that TOML has of writing them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline.settings.keys import Path
from branchline.settings.lines import key_lines

_THREE = '"' * 3
EVERYTHING = f"""\
# comment = 1 [not.a.table]
top = "x = 1 # no comment" # y = 2
a.b . "c.d" = 1979-05-27 07:32:00
'quoted key' = '"'

[table]  # [other]
list = [ # one
  1,
  [2, "]"], # two

  {{ inner = 3, deep.er = {{ x = 4 }} }},
]
literal = '''
fake = 1
'''''
text = {_THREE}
key = 1
[table.fake]
\\{_THREE} quoted "
"{_THREE}
after = 1.5e3
empty = ""
[table."sub table".x]
y = true
[[items]]
n = 1
[[items]]
n = 2
[items.nested]
m = 3
[[items.more]]
[[items.more]]
k = 4
"""


def paths(value: Any, path: Path = ()) -> set[Path]:
    """The path of everything inside a parsed document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} - {()} | {each for name, inner in entries for each in paths(inner, (*path, name))}


def test_every_key_of_a_document_is_found_and_nothing_else() -> None:
    assert key_lines(EVERYTHING).keys() == paths(tomllib.loads(EVERYTHING))


@pytest.mark.parametrize(
    ("path", "start"),
    [
        (("top",), "top ="),
        (("a", "b", "c.d"), "a.b"),
        (("quoted key",), "'quoted key'"),
        (("table",), "[table]"),
        (("table", "list", 0), "  1,"),
        (("table", "list", 1, 1), "  [2"),
        (("table", "list", 2, "deep", "er", "x"), "  { inner"),
        (("table", "text"), "text ="),
        (("table", "literal"), "literal ="),
        (("table", "after"), "after ="),
        (("table", "sub table", "x", "y"), "y ="),
        (("items",), "[[items]]"),
        (("items", 0, "n"), "n = 1"),
        (("items", 1, "n"), "n = 2"),
        (("items", 1, "nested", "m"), "m = 3"),
        (("items", 1, "more", 1, "k"), "k = 4"),
    ],
)
def test_each_key_is_on_its_own_line(path: Path, start: str) -> None:
    assert EVERYTHING.splitlines()[key_lines(EVERYTHING)[path] - 1].startswith(start)


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = '''\r\n'''\r\nd = 1\r\n")["b", "d"] == 6


# A value, and how many lines below its start each thing inside of it is.
Value = tuple[str, dict[Path, int]]
names = st.sampled_from(["x", "port", "a-b", "'q.r'", '"s = [t]"', '"\\u00e9"'])


def listed(items: list[tuple[Value, str]]) -> Value:
    text, inside = "[", {}
    for position, ((item, within), gap) in enumerate(items):
        text += gap
        line = text.count("\n")
        inside |= {(position,): line} | {(position, *path): line + below for path, below in within.items()}
        text += f"{item},"
    return f"{text}]", inside


def inline(items: dict[str, Value]) -> Value:
    text, inside = "", {}
    for name, (item, within) in items.items():
        text += ", " * bool(text)
        line, key = text.count("\n"), only(name)
        inside |= {(key,): line} | {(key, *path): line + below for path, below in within.items()}
        text += f"{name} = {item}"
    return f"{{{text}}}", inside


def only(name: str) -> str:
    return next(iter(tomllib.loads(f"{name} = 1")))


values: st.SearchStrategy[Value] = st.recursive(
    st.sampled_from(
        ["1", "-2.5", "true", "07:32:00", "'#'", '"\\"]"', '"""\n[x]\n\\""""', "'''\nport = 1\n''''", '""', "''''''"]
    ).map(lambda text: (text, {})),
    lambda inner: (
        st.lists(st.tuples(inner, st.sampled_from(["", " ", "\n", "# ]\n\n"])), max_size=3).map(listed)
        | st.dictionaries(names, inner, max_size=3).map(inline)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "\n", "# [c]\n", "  "]), st.none() | names, names, values), max_size=6))
def test_any_document_has_its_lines_told_right(statements: list[tuple[str, str | None, str, Value]]) -> None:
    text, expected = "", {}
    for number, (before, table, name, (value, inside)) in enumerate(statements):
        # Each statement has a table of its own, so that none is defined twice.
        text += before
        path: Path = (f"t{number}", *([only(table)] if table else []))
        expected |= {path[: end + 1]: text.count("\n") + 1 for end in range(len(path))}
        text += f"[t{number}{f'.{table}' if table else ''}]\n"
        line, key = text.count("\n") + 1, (*path, only(name))
        expected |= {key: line} | {(*key, *inner): line + below for inner, below in inside.items()}
        text += f"{name} = {value}\n"
    assert key_lines(text) == expected
    assert expected.keys() == paths(tomllib.loads(text))
