"""A branch's deletion, from the forge's signed delivery to the last resource: API, function, and all that it removes.

The API and the function are the emulator's: it runs the zip for real, with this machine's Python and boto3 whatever
runtime the function asks for. test_function_code.py runs the zip with nothing but boto3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from branchline.cancellation import Cancellation
from branchline.engines.ecs import webhook
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base_plan import Wanted, make_plan
from branchline.engines.ecs.bootstrap import bootstrap
from branchline.engines.ecs.webhook_secret import Document, read_secret
from tests.aws import sweep
from tests.aws.app import app
from tests.aws.conftest import MiniStack
from tests.aws.shop import Shop
from tests.forge_payloads import branch_deleted, signed
from tests.slack import SlackStandIn
from tests.waiting import eventually


@dataclass(frozen=True)
class Listener:
    """Where the platform listens to forges, and what it tells of it."""

    url: str
    secrets: tuple[str, ...]
    slack: SlackStandIn
    function: str

    def post(self, forge: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """A forge's delivery."""
        return httpx.post(f"{self.url}/webhooks/{forge}", headers=headers, content=body, timeout=30)

    def delete(self, shop: Shop, branch: str = "main", secret: str = "", delivery: str = "") -> httpx.Response:
        """GitHub's word that the branch was deleted."""
        event, payload = branch_deleted("github", branch, str(shop.repo.path))
        headers, body = signed("github", event, payload, secret or self.secrets[0])
        return self.post("github", headers | ({"x-github-delivery": delivery} if delivery else {}), body)


@pytest.fixture
def listener(shop: Shop) -> Iterator[Listener]:
    """The shop's platform listens, and tells a Slack."""
    with SlackStandIn() as slack:
        made = bootstrap(
            shop.aws,
            make_plan(shop.aws, shop.base.platform, Wanted(webhook=True)),
            lambda _: None,
            Cancellation(),
            Document(slack={"webhook": slack.webhook}),
        )
        found = webhook.require(shop.aws, shop.base.platform)
        api = made.endpoint.partition("://")[2].partition(".")[0]
        url = f"{shop.ministack.url}/_aws/execute-api/{api}/$default"
        yield Listener(url, read_secret(shop.aws, found.secret).secrets, slack, found.function)


def test_a_signed_delete_removes_all_that_the_branch_had(shop: Shop, listener: Listener) -> None:
    shop.deploy()
    before = shop.there()
    answer = listener.delete(shop, secret="guessed")
    print(answer.text)
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorised"})
    assert shop.there() == before
    answer = listener.delete(shop)
    print(answer.status_code, answer.text)
    assert answer.status_code == 202
    eventually(lambda: not shop.there(), "all is gone", timeout=60)
    eventually(lambda: listener.slack.messages, "slack heard", timeout=20)
    print(listener.slack.texts)
    print(shop.aws.logs.filter_log_events(logGroupName=f"/aws/lambda/{listener.function}")["events"])
    assert 0
