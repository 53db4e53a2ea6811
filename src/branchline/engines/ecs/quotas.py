"""What a platform uses of the account's quotas, and what to do before one is full.

A quota is what the account has been given (Service Quotas' applied value), or else AWS's default for the region, or
else the default that AWS documents:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from branchline.checks import Check, Result
from branchline.engines.ecs import names, routing
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base, read_shard
from branchline.engines.ecs.parallel import all_at_once

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import TaskTypeDef

NEARLY = 0.8
"""The part of a quota from which on there is a warning."""
_DESCRIBED_AT_ONCE = 100
_UNITS = 1024
"""Of processor, for each vCPU:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#task_size"""


@dataclass(frozen=True, slots=True)
class Quota:
    """One of Service Quotas, by the words of its console."""

    service: str
    code: str
    name: str
    default: float
    """As it is documented."""

    @property
    def raising(self) -> str:
        """How to get more of it."""
        return f"have it raised: Service Quotas console, {self.service}, {self.name!r} ({self.code})"


RULES = Quota("elasticloadbalancing", "L-7EED9B64", "Rules per Application Load Balancer", 100)
"""The default rules don't count."""
TARGET_GROUPS = Quota("elasticloadbalancing", "L-822D1B1B", "Target Groups per Application Load Balancer", 100)
"""AWS doesn't raise it, and every environment has one: hence further load balancers."""
SERVICES = Quota("ecs", "L-9EF96962", "Services per cluster", 5000)
ON_DEMAND = Quota("fargate", "L-3032A538", "Fargate On-Demand vCPU resource count", 6)
SPOT = Quota("fargate", "L-36FBB829", "Fargate Spot vCPU resource count", 6)


@dataclass(frozen=True, slots=True)
class Limit:
    """How much there may be."""

    value: float
    known: bool
    """Whether Service Quotas has said it; otherwise it is the documented default, and the account may have another."""


def limit(aws: Aws, quota: Quota) -> Limit:
    """The account's, where AWS says it."""
    asked: tuple[Callable[..., object], ...] = (
        aws.quotas.get_service_quota,
        aws.quotas.get_aws_default_service_quota,  # the first has no answer for what was never changed
    )
    for ask in asked:
        try:
            with asking(f"can't read the quota {quota.code}"):
                answer = ask(ServiceCode=quota.service, QuotaCode=quota.code)
        except AwsError:
            continue
        value = answer["Quota"].get("Value")
        if value is not None:
            return Limit(value, known=True)
    return Limit(quota.default, known=False)


def judge(name: str, what: str, used: float, limit: Limit, remedy: str) -> Check:
    """What is used, such as `5 services`, against how much there may be."""
    result: Result = "ok"
    if used >= limit.value * NEARLY:
        result = "failure" if used >= limit.value else "warning"
    unknown = "" if limit.known else " (AWS's default; Service Quotas doesn't say what this account has)"
    return Check(name, result, f"{what} of {limit.value:g}{unknown}", "" if result == "ok" else remedy)


def balancers(aws: Aws, base: Base, further: str) -> list[Check]:
    """The rules and target groups of each load balancer. `further` says how to get another.

    A full one is no failure while another takes environments, since deploys go on to that.
    """
    rules, groups = all_at_once(partial(limit, aws, RULES), partial(limit, aws, TARGET_GROUPS))
    shards = [_shard(aws, base, shard, rules, groups, further) for shard in range(1, base.shards + 1)]
    if all(_full(found) for found in shards):
        return [check for found in shards for check in found]
    return [
        replace(check, result="warning", finding=f"{check.finding}; new environments go to another")
        if check.result == "failure"
        else check
        for found in shards
        for check in found
    ]


def _full(checks: Iterable[Check]) -> bool:
    return any(check.result == "failure" for check in checks)


def _shard(aws: Aws, base: Base, shard: int, rules: Limit, groups: Limit, further: str) -> list[Check]:
    balancer = read_shard(aws, base, shard)
    found = [rule for rule in routing.rules(aws, balancer.listener) if not rule.get("IsDefault")]
    # A load balancer has no other target groups: its listener for plain HTTP only redirects, where there are two.
    targets = {arn for rule in found for action in rule.get("Actions", []) if (arn := action.get("TargetGroupArn"))}
    # With as many rules as target groups, more rules would be of no use.
    remedy = f"{RULES.raising}; or {further}" if rules.value < groups.value else further
    return [
        judge("rules", f"{balancer.name} has {len(found)}", len(found), rules, remedy),
        judge("target groups", f"{balancer.name} has {len(targets)}", len(targets), groups, further),
    ]


def services(aws: Aws, base: Base) -> list[Check]:
    """The cluster's services."""
    cluster = names.cluster(base.platform)
    with asking(f"can't list the services of {cluster}"):
        pages = aws.ecs.get_paginator("list_services").paginate(
            cluster=cluster, PaginationConfig={"PageSize": _DESCRIBED_AT_ONCE}
        )
        count = sum(len(page["serviceArns"]) for page in pages)
    return [judge("services", f"{cluster} has {count}", count, limit(aws, SERVICES), SERVICES.raising)]


def processors(aws: Aws, base: Base) -> list[Check]:
    """What the platform's tasks use of the account's processors on Fargate. Its other tasks and pods count too."""
    if not base.on_fargate:
        return []
    quotas = {"FARGATE": ON_DEMAND}
    if base.capacity == "fargate-spot":
        quotas = {"FARGATE_SPOT": SPOT} | quotas  # on-demand takes over where there is no Spot
    limits = all_at_once(*(partial(limit, aws, quota) for quota in quotas.values()))
    used = _units(aws, base)
    found: list[Check] = []
    for (provider, quota), most in zip(quotas.items(), limits, strict=True):
        count = used[provider] / _UNITS
        found.append(judge("vCPUs", f"{quota.name}: the platform uses {count:g}", count, most, quota.raising))
    return found


def _units(aws: Aws, base: Base) -> Counter[str]:
    """Units of processor, by capacity provider."""
    cluster = names.cluster(base.platform)
    with asking(f"can't list the tasks of {cluster}"):
        pages = aws.ecs.get_paginator("list_tasks").paginate(
            cluster=cluster, PaginationConfig={"PageSize": _DESCRIBED_AT_ONCE}
        )
        pieces = [page["taskArns"] for page in pages if page["taskArns"]]
    used: Counter[str] = Counter()
    for arns in pieces:
        with asking(f"can't read the tasks of {cluster}"):
            tasks: list[TaskTypeDef] = aws.ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]
        for task in tasks:
            used[task.get("capacityProviderName", "FARGATE")] += int(task.get("cpu", "0"))
    return used
