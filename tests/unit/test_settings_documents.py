"""The schemas, examples, reference pages and the file that `init` writes: all made from the settings' structs."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from branchline.errors import ConfigurationError
from branchline.settings.__main__ import documents
from branchline.settings.application import Application
from branchline.settings.keys import sections
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_application, read_platform
from branchline.settings.schema import application_schema, platform_schema
from branchline.settings.template import annotated
from branchline.settings.variables import variable_names

DOCS = Path(__file__).parents[2] / "docs"
STRUCTS = {"branchline": Application, "platform": PlatformSettings}
SCHEMAS = {"branchline": application_schema(), "platform": platform_schema()}


def valid(document: Any, name: str) -> bool:
    """Whether the schema accepts it."""
    return jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(document)


def set_keys(document: dict[str, Any], struct: type[Struct]) -> set[str]:
    """The keys of the struct that a document sets."""
    found: set[str] = set()
    for section in sections(struct):
        table = document
        for name in section.path:
            table = table.get(name, {})
        found |= {key.name for key in section.keys if key.path[-1] in table}
    return found


def all_keys(struct: type[Struct]) -> set[str]:
    return {key.name for section in sections(struct) for key in section.keys}


@pytest.mark.parametrize("name", documents())
def test_committed_documents_are_in_step_with_the_settings(name: str) -> None:
    made = documents()[name]
    assert (DOCS / name).read_text(encoding="utf-8") == made, "write them again: python -m branchline.settings docs"


def test_the_documents_are_written_by_one_command(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "branchline.settings", str(tmp_path)], check=True)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == documents().keys()


# Schemas


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid_and_describe_every_key(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == f"{name}.toml"
    for table in [schema, *schema["$defs"].values()]:
        assert table["additionalProperties"] is False
        assert table["description"]
        assert all(key.get("description") or key.get("$ref") for key in table["properties"].values())


@pytest.mark.parametrize(
    "document",
    [
        {"port": 0},
        {"port": None},
        {"port": "80"},
        {"helth": {}},
        {"health": {"timeout": -1}},
        {"limits": {"memory": "0m"}},
        {"build": {"context": "../x"}},
        {"env": {"A B": ""}},
        {"env": {"A": 1}},
        {"branches": {"include": []}},
        {"domain": "a..b"},
        {"project": "a--b"},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(document: object) -> None:
    assert not valid(document, "branchline")


applications = st.fixed_dictionaries(
    {},
    optional={
        "project": st.text("ab-", max_size=27),
        "port": st.integers(-1, 70000),
        "domain": st.text("ab.-1", max_size=8),
        "env": st.dictionaries(st.text("A1_-", max_size=3), st.text("a\0\n", max_size=3), max_size=2),
        "env_files": st.lists(st.text("./e", max_size=4), max_size=2),
        "build": st.fixed_dictionaries(
            {}, optional={"context": st.text("./c", max_size=4), "dockerfile": st.text("./D\0", max_size=4)}
        ),
        "health": st.fixed_dictionaries(
            {}, optional={"path": st.text("/ ?é", max_size=3), "timeout": st.integers(-1, 4000) | st.floats(-1, 4000)}
        ),
        "branches": st.fixed_dictionaries({}, optional={"include": st.lists(st.text("*a", max_size=2), max_size=2)}),
        "limits": st.fixed_dictionaries({}, optional={"memory": st.from_regex(r"\A[0-9]{1,4}[kmgx]\Z")}),
    },
)


def as_toml(table: dict[str, Any], path: tuple[str, ...] = ()) -> str:
    """The document in TOML: every value on a line of its own, with its whole key."""
    return "".join(
        as_toml(value, (*path, name))
        if isinstance(value, dict)
        else f"{'.'.join(json.dumps(each) for each in (*path, name))} = {json.dumps(value, ensure_ascii=True)}\n"
        for name, value in table.items()
    )


@settings(deadline=None, max_examples=300)
@given(applications)
def test_the_schema_accepts_exactly_what_the_reader_reads(document: dict[str, Any]) -> None:
    try:
        read_application(as_toml(document), "branchline.toml")
    except ConfigurationError:
        read = False
    else:
        read = True
    assert valid(document, "branchline") is read


# Examples


@pytest.mark.parametrize("name", STRUCTS)
def test_the_example_sets_every_key_and_is_valid(name: str) -> None:
    file = DOCS / "examples" / f"{name}.toml"
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    assert set_keys(document, STRUCTS[name]) == all_keys(STRUCTS[name])
    assert valid(document, name)
    if name == "platform":
        read_platform(file, {})
    else:
        read_application(file.read_text(encoding="utf-8"), file.name)


# Reference pages


@pytest.mark.parametrize(("page", "struct"), [("branchline-toml", Application), ("platform", PlatformSettings)])
def test_the_reference_page_has_every_key_with_its_description(page: str, struct: type[Struct]) -> None:
    text = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    for section in sections(struct):
        assert not section.path or f"## [{'.'.join(section.path)}]" in text
        for key in section.keys:
            assert f"| `{key.path[-1]}` | {key.description.replace('|', chr(92) + '|')} |" in text


def test_the_operators_page_has_every_environment_variable() -> None:
    text = (DOCS / "reference" / "platform.md").read_text(encoding="utf-8")
    assert [name for name in variable_names() if f"`{name}`" not in text] == []


# What `init` writes


def uncommented(text: str) -> str:
    """The file with each key that is commented out taken in, as a user would."""
    return "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in text.splitlines()
    )


def test_every_key_is_explained_and_none_is_set_without_a_reason() -> None:
    text = annotated("My Shop", "FROM scratch\nEXPOSE 8000\n")
    assert read_application(text, "branchline.toml") == Application(project="my-shop")
    assert set_keys(tomllib.loads(uncommented(text)), Application) == all_keys(Application)
    prose = text.replace("\n# ", " ")
    assert [key for section in sections(Application) for key in section.keys if key.description not in prose] == []


def test_a_key_whose_comment_sign_is_taken_away_has_its_default() -> None:
    read = read_application(uncommented(annotated("shop", None)), "branchline.toml")
    assert msgspec.structs.replace(read.health, path=None) == Application().health
    assert (read.limits, read.deploy, read.build.context) == (Application().limits, Application().deploy, ".")


@pytest.mark.parametrize(
    ("dockerfile", "said", "port_line"),
    [
        (None, "There is no Dockerfile yet", "# port = 8000"),
        ("FROM x\nEXPOSE 3000", "The Dockerfile has EXPOSE 3000, which is used", "# port = 3000"),
        ("FROM x\nEXPOSE 3000 9100", "The Dockerfile has EXPOSE 3000, 9100; the first is set here", "port = 3000"),
        ("FROM x\nENV PORT=5000", "no EXPOSE, but sets PORT to 5000", "# port = 5000"),
        ("FROM x", "The Dockerfile names no port", "# port = 8000"),
        ("FROM x AS a\nFROM a\nEXPOSE 80\nHEALTHCHECK CMD x", "stages: a, 1", "# port = 80"),
        ("FROM x\nHEALTHCHECK CMD x", "The Dockerfile has a HEALTHCHECK, which is used", "# port = 8000"),
    ],
)
def test_the_comments_say_what_the_dockerfile_led_to(dockerfile: str | None, said: str, port_line: str) -> None:
    lines = annotated("shop", dockerfile).splitlines()
    assert said in " ".join(line.removeprefix("# ") for line in lines)
    assert port_line in lines


@settings(deadline=None)
@given(st.text(), st.none() | st.text() | st.text().map("FROM a AS {0}\nFROM b\nEXPOSE {0} 80\nEXPOSE 81".format))
def test_whatever_the_project_is_called_the_file_is_valid(project: str, dockerfile: str | None) -> None:
    read_application(annotated(project, dockerfile), "branchline.toml")
