"""The reference pages say what the commands print, and what they make on the engine. On the real engine."""

from __future__ import annotations

import re
from typing import Any

import docker

from tests.docker.conftest import Branchline
from tests.docs.pages import DOCS, first_cells, section
from tests.repositories import Repo

JSON = (DOCS / "reference" / "json.md").read_text()


def documented(title: str) -> dict[str, str]:
    """Each key of a shape, and the kind of its value."""
    found = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section(JSON, title), re.MULTILINE))
    assert found, title
    return found


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of the kind that the page says."""
    plain = kind.removesuffix(" or null")
    if value is None:
        return plain != kind
    match plain:
        case "text":
            return isinstance(value, str)
        case "whole number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "true or false":
            return isinstance(value, bool)
        case "list of text":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "seconds":
            return all(isinstance(number, float) for number in value.values())
        case "release":
            check(value, "Release")
            return True
        case _:
            return False


def check(answer: Any, *titles: str) -> None:
    """Holds an answer against the shapes that it consists of."""
    shape = {key: kind for title in titles for key, kind in documented(title).items()}
    assert set(answer) == set(shape)
    for key, kind in shape.items():
        assert fits(answer[key], kind), f"{key}: {answer[key]!r} is not {kind}"


def test_the_json_has_the_documented_shapes(branchline: Branchline, shop: Repo) -> None:
    def asked(*arguments: str) -> Any:
        return branchline(*arguments, "--json", cwd=shop.path).json

    first = asked("deploy")
    check(first, "Environment", "Deploy")
    assert set(first["seconds"]) == {"build", "start", "healthy", "route", "total"}
    again = asked("deploy")
    check(again, "Environment", "Deploy")
    assert set(again["seconds"]) == {"build", "total"}
    shop.commit(files={"version": "main 2"})
    asked("deploy")

    shop.commit(files={"server.py": "raise SystemExit('no database')"})
    failed = branchline.try_("deploy", "--json", cwd=shop.path)
    check(failed.json, "Error")
    assert failed.code == failed.json["exit_code"] == 1
    assert "no database" in failed.json["details"]

    shown = asked("show", "main")
    check(shown, "Environment")
    assert {key for key in ("release", "previous", "failed") if shown[key]} == {"release", "previous", "failed"}
    (listed,) = asked("list")
    check(listed, "Environment")
    back = asked("rollback", "main")
    check(back, "Environment", "Rollback")
    assert set(back["seconds"]) == {"start", "healthy", "route", "total"}

    check(asked("sleep", "main"), "Environment")
    check(asked("wake", "main"), "Environment")
    for item in asked("doctor"):
        check(item, "Check")
        assert item["result"] in ("ok", "warning", "failure")
    check(asked("router", "status"), "Router")
    check(asked("router", "start"), "Router")
    check(asked("init"), "Written")

    shop.checkout("other", create=True)
    asked("deploy", "--commit", first["commit"])
    shop.checkout("main")
    shop.delete_branch("other")
    (reaped,) = asked("reap", "--dry-run")
    check(reaped, "Removed", "Reaped")
    (reaped,) = asked("reap")
    check(reaped, "Removed", "Reaped")
    (removed,) = asked("destroy", "main")
    check(removed, "Removed")
    assert {name.split()[0] for name in removed["removed"]} == {"container", "network", "record", "image"}
    check(asked("router", "stop"), "Router stopped")
    check(asked("router", "status"), "Router")
    check(branchline.try_("list", "--json", "--nonsense", cwd=shop.path).json, "Error")


def test_a_branch_that_is_opened_says_so_in_json(branchline: Branchline, shop: Repo) -> None:
    branchline.deploy(shop)
    no_browser = {"BROWSER": "true"}  # the program of that name: it takes the URL, and shows nothing
    opened = branchline("open", "--json", cwd=shop.path, env=no_browser).json
    check(opened, "Environment", "Opened")
    assert opened["opened"] is True


def test_a_superseded_deploy_tells_so_in_json_and_ends_with_0(branchline: Branchline, shop: Repo) -> None:
    old = shop.head
    shop.commit(files={"version": "main 2"})
    branchline.deploy(shop)
    late = branchline("deploy", "--json", "--commit", old, cwd=shop.path)
    check(late.json, "Error")
    assert late.json["exit_code"] == 0


def test_every_label_is_documented_with_what_carries_it(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    forever = {"BRANCHLINE_LIFETIME": "24"}
    branchline.deploy(shop, env=forever)
    shop.commit(files={"server.py": "raise SystemExit(1)"})
    assert branchline.try_("deploy", cwd=shop.path, env=forever).code == 1

    wanted = {"label": f"branchline:platform={branchline.platform}"}
    api = engine.api
    found: dict[str, set[str]] = {}
    for kind, rows in (
        ("container", api.containers(all=True, filters=wanted)),
        ("volume", api.volumes(filters=wanted)["Volumes"]),
        ("network", api.networks(filters=wanted)),
        ("image", api.images(filters=wanted)),
    ):
        assert rows, kind
        for row in rows:
            for label in row["Labels"]:
                if label.startswith("branchline:"):
                    found.setdefault(label, set()).add(kind)

    page = section((DOCS / "reference" / "labels.md").read_text(), "Labels")
    rows = dict(re.findall(r"^\| `(branchline:[\w-]+)` \| ([^|]+?) \|", page, re.MULTILINE))
    everything = "container, volume, network, image"
    said = {label: set(rows[label].replace("everything", everything).split(", ")) for label in rows}
    assert said["branchline:image"] == {"container", "image"}, "an image carries it where --image named it"
    said["branchline:image"].discard("image")
    assert found == said


def test_every_variable_of_a_container_is_documented(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    given = branchline.get(url, "/env").json()
    page = section((DOCS / "reference" / "containers.md").read_text(), "Environment variables")
    assert {name for name in given if name.startswith("BRANCHLINE_")} | {"PORT"} == set(first_cells(page))
    assert given["BRANCHLINE_URL"] == url
    assert given["PORT"] == "8000"
