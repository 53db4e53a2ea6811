"""Webhooks, made through the forges' APIs."""

from __future__ import annotations

from typing import Any

import pytest

from branchline.errors import BranchlineError, ConfigurationError
from tests.forge_apis.conftest import HOOK, Pair
from tests.forge_stand_ins.server import Answer


def secret(hook: dict[str, Any]) -> str:
    return hook.get("secret") or hook.get("token") or hook["config"]["secret"]


def test_a_webhook_is_made_once_and_kept_as_it_should_be(pair: Pair) -> None:
    others = {
        "github": {"config": {"url": "https://other"}},
        "gitea": {"config": {"url": "https://other"}, "events": []},
    }
    pair.there.hooks.append({"id": 1, "uuid": "{1}", **others.get(pair.forge.name, {"url": "https://other"})})

    assert pair.forge.install_hook(pair.there.repository, HOOK, "first") == "created"
    assert pair.forge.install_hook(pair.there.repository, HOOK, "first") == "unchanged"
    _, hook = pair.there.hooks
    assert secret(hook) == "first"

    assert pair.forge.install_hook(pair.there.repository, HOOK, "second") == "unchanged"
    assert secret(pair.there.hooks[1]) == "second"

    if "push_events" in hook:
        hook["push_events"] = False
    else:
        hook["active"] = False
    assert pair.forge.install_hook(pair.there.repository, HOOK, "second") == "updated"
    assert pair.there.hooks[1].get("active", True)
    assert pair.there.hooks[1].get("push_events", True)

    assert pair.forge.remove_hook(pair.there.repository, HOOK)
    assert not pair.forge.remove_hook(pair.there.repository, HOOK)
    assert len(pair.there.hooks) == 1


def test_a_webhook_is_for_pushes_deletions_and_pull_requests(pair: Pair) -> None:
    pair.forge.install_hook(pair.there.repository, HOOK, "first")
    (hook,) = pair.there.hooks
    match pair.forge.name:
        case "github" | "gitea":
            assert set(hook["events"]) == {"push", "delete", "pull_request"}
            assert hook["config"]["content_type"] == "json"
        case "gitlab":
            assert (hook["push_events"], hook["merge_requests_events"], hook["tag_push_events"]) == (True, True, False)
            assert hook["enable_ssl_verification"]
        case _:
            assert "repo:push" in hook["events"]


def test_a_webhook_is_found_behind_many_others(pair: Pair) -> None:
    pair.forge.install_hook(pair.there.repository, HOOK, "first")
    (ours,) = pair.there.hooks
    for number in range(120):
        other = {**ours, "id": number, "uuid": f"{{{number}}}", "url": f"https://{number}.example.com"}
        if "config" in other:
            other["config"] = {**other["config"], "url": other["url"]}
        pair.there.hooks.insert(0, other)
    assert pair.forge.install_hook(pair.there.repository, HOOK, "first") == "unchanged"


def test_a_webhook_without_a_secret_is_refused_before_anything_is_asked(pair: Pair) -> None:
    with pytest.raises(ConfigurationError, match="secret"):
        pair.forge.install_hook(pair.there.repository, HOOK, "")
    assert pair.there.requests == []


def test_a_refused_webhook_tells_neither_its_secret_nor_the_token(pair: Pair) -> None:
    pair.there.refusals = {"POST": Answer(403, {"message": "Must have admin rights"})}
    with pytest.raises(BranchlineError, match="403") as caught:
        pair.forge.install_hook(pair.there.repository, HOOK, "the-hooks-secret")
    assert "the-hooks-secret" not in f"{caught.value} {caught.value.remedy}"
    assert pair.there.token not in f"{caught.value} {caught.value.remedy}"
