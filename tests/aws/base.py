"""Bases for tests, made as an operator makes them."""

from __future__ import annotations

from typing import Any

from branchline.cancellation import Cancellation
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.base_plan import Wanted, make_plan
from branchline.engines.ecs.bootstrap import bootstrap


def make_base(aws: Aws, platform: str, **options: Any) -> Base:
    """A platform's base, by `bootstrap` itself. `options` are those of `Wanted`, such as `shards=2`.

    It listens to no webhook, unless they say so.
    """
    options.setdefault("webhook", False)
    plan = make_plan(aws, platform, Wanted(**options))
    return bootstrap(aws, plan, lambda _: None, Cancellation()).base
