"""Bases for tests, made as an operator makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from branchline.cancellation import Cancellation
from branchline.engines.ecs import webhook
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.base_plan import Wanted, make_plan
from branchline.engines.ecs.bootstrap import bootstrap
from branchline.engines.ecs.webhook_secret import NOTHING_TOLD, Document


def make_base(aws: Aws, platform: str, **options: Any) -> Base:
    """A platform's base, by `bootstrap` itself. `options` are those of `Wanted`, such as `shards=2`.

    It listens to no webhook, unless they say so.
    """
    options.setdefault("webhook", False)
    plan = make_plan(aws, platform, Wanted(**options))
    return bootstrap(aws, plan, lambda _: None, Cancellation()).base


@dataclass(frozen=True)
class Door:
    """Where a platform listens to forges."""

    url: str
    """Of the API, as the emulator has it."""
    function: str
    secret: str
    """The ARN of the secret that the function reads."""


def listen(aws: Aws, platform: str, emulator: str, told: Document = NOTHING_TOLD) -> Door:
    """Has the platform listen to forges, too. `emulator` is the URL of MiniStack."""
    bootstrap(aws, make_plan(aws, platform, Wanted(webhook=True)), lambda _: None, Cancellation(), told)
    made = webhook.require(aws, platform)
    api = made.endpoint.partition("://")[2].partition(".")[0]
    return Door(f"{emulator}/_aws/execute-api/{api}/$default", made.function, made.secret)
