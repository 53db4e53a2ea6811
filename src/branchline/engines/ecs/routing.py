"""An environment's route: its target group, the listener rule for its host, and its DNS record where that is asked for.

Rule priorities are unique for each listener, and others take some at the same time. So a priority is computed from the
host, and only where that is taken the rules are looked at, and the next computed one that is free is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from branchline import labels
from branchline.engines.ecs import names, specs, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base, LoadBalancer, known_shard
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError
from branchline.ports import Push

if TYPE_CHECKING:
    from types_boto3_elbv2.type_defs import RuleTypeDef

    from branchline.settings.application import Health

_ATTEMPTS = 200
_FULL = frozenset({"TooManyRules", "TooManyTargets", "TooManyTargetGroups", "TooManyUniqueTargetGroupsPerLoadBalancer"})
"""How a load balancer says that it takes no more."""
_GONE = frozenset({"ListenerNotFound", "LoadBalancerNotFound", "RuleNotFound", "TargetGroupNotFound"})
_PAGE = 400


@dataclass(frozen=True, slots=True)
class Route:
    """How a host's requests get to the environment's tasks. All but the load balancer are ARNs."""

    load_balancer: LoadBalancer
    target_group: str
    rule: str
    record: str
    """The DNS record's hosted zone and what it points to, as `labels.RECORD` has it; empty where it needs none."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What an environment has of a route, be it whole or not."""

    target_group: str = ""
    rules: tuple[str, ...] = ()
    host: str = ""
    record: str = ""


def make(aws: Aws, push: Push, base: Base, host: str, port: int, *, look: bool) -> Route:
    """Gives the host its route to the environment, and returns it; what is there already is kept.

    `look` says that a deploy which was killed may have left a part of it.

    Raises:
        ConfigurationError: no load balancer of the base takes another rule.
    """
    order = names.shards(push.environment, base.shards)
    first = known_shard(aws, base, order[0])
    present = remains(aws, push.environment, base) if look else Remains()
    retried = aws.retried["CreateRule"]
    target_group = present.target_group or _make_target_group(
        aws, push, base, host, port, _record(base, first, order[0])
    )
    _set_delay(aws, target_group, str(push.application.ecs.deregistration_delay))
    if present.rules:
        rule = present.rules[0]
        for other in present.rules[1:]:
            delete_rule(aws, other)
        balancer = load_balancer_of(aws, rule, base)
        route = Route(balancer, target_group, rule, _record(base, balancer, shard_of(rule, base)))
    else:
        route = _make_rule(aws, push, base, host, target_group, order, first)
    if aws.retried["CreateRule"] > retried:  # it may have been made twice
        for other in remains(aws, push.environment, base).rules:
            if other != route.rule:
                delete_rule(aws, other)
    if route.record:
        _change_record(aws, "UPSERT", host, route.record)
    return route


def update(aws: Aws, target_group: str, health: Health, delay: str) -> None:
    """Brings a target group to what a release's settings say; `delay` is in seconds, see `ecs.deregistration_delay`."""
    with asking("can't change the target group"):
        aws.elb.modify_target_group(TargetGroupArn=target_group, **specs.health_check(health))
    _set_delay(aws, target_group, delay)


def remains(aws: Aws, environment: EnvironmentId, base: Base | None) -> Remains:
    """What the environment has of a route, found by its target group's name. Only what carries our tags counts."""
    name = names.target_group(environment)
    try:
        with asking(f"can't read the target group {name}"):
            groups = aws.elb.describe_target_groups(Names=[name])["TargetGroups"]
    except AwsError as error:
        if error.code in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
            return Remains()
        raise
    if not groups:
        return Remains()
    arn = groups[0].get("TargetGroupArn", "")
    values = tag_values(aws, [arn]).get(arn)
    if values is None:
        return Remains()
    if values.get(labels.PLATFORM) != environment.platform:
        raise ConfigurationError(
            f"the target group {name} is not Branchline's: it lacks the tag {labels.PLATFORM} = {environment.platform}",
            remedy="remove or rename it; Branchline changes nothing that it doesn't own",
        )
    found: list[str] = []
    for shard in range(1, base.shards + 1) if base else ():
        for rule in rules(aws, known_shard(aws, base, shard).listener) if base else ():
            targets = [action.get("TargetGroupArn") for action in rule.get("Actions", [])]
            if arn in targets:
                found.append(rule.get("RuleArn", ""))
    return Remains(arn, tuple(found), values.get(labels.HOST, ""), values.get(labels.RECORD, ""))


def rules(aws: Aws, listener: str) -> Iterator[RuleTypeDef]:
    """A listener's rules."""
    with asking("can't read the listener's rules"):
        for page in aws.elb.get_paginator("describe_rules").paginate(
            ListenerArn=listener, PaginationConfig={"PageSize": _PAGE}
        ):
            yield from page["Rules"]


def tag_values(aws: Aws, arns: list[str]) -> dict[str, dict[str, str]]:
    """The values of the tags of load balancer resources, by ARN; those that have gone meanwhile are left out."""
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(arns), 20):  # the most that one call takes
        found |= _described_tags(aws, arns[start : start + 20])
    return found


def _described_tags(aws: Aws, arns: list[str]) -> dict[str, dict[str, str]]:
    """The same, of at most 20. One that is gone fails the call for all of them."""
    try:
        with asking("can't read the tags of the load balancer's resources"):
            described = aws.elb.describe_tags(ResourceArns=arns)["TagDescriptions"]
    except AwsError as error:
        if error.code.removesuffix("Exception") not in _GONE:
            raise
        alone = [_described_tags(aws, [arn]) for arn in arns] if len(arns) > 1 else []
        return {arn: values for found in alone for arn, values in found.items()}
    return {item.get("ResourceArn", ""): tags.read(item.get("Tags", [])) for item in described}


def shard_of(rule: str, base: Base) -> int:
    """The number of the load balancer whose name is in the rule's ARN."""
    name = rule.split("/")[2]
    return next((n for n in range(1, base.shards + 1) if names.load_balancer(base.platform, n) == name), 1)


def load_balancer_of(aws: Aws, rule: str, base: Base) -> LoadBalancer:
    """The load balancer that has the rule."""
    return known_shard(aws, base, shard_of(rule, base))


def exists(aws: Aws, rule: str) -> bool:
    """Whether there is such a listener rule."""
    try:
        with asking("can't read the listener rule"):
            return bool(aws.elb.describe_rules(RuleArns=[rule])["Rules"])
    except AwsError as error:
        if error.code in ("RuleNotFound", "RuleNotFoundException"):
            return False
        raise


def delete_rule(aws: Aws, rule: str) -> bool:
    """Deletes a listener rule; False where it is gone already."""
    try:
        with asking("can't delete the listener rule"):
            aws.elb.delete_rule(RuleArn=rule)
    except AwsError as error:
        if error.code in ("RuleNotFound", "RuleNotFoundException"):
            return False
        raise
    return True


def delete_target_group(aws: Aws, target_group: str) -> None:
    """Deletes a target group; one that is gone already is no error, which is how the API has it too."""
    try:
        with asking("can't delete the target group"):
            aws.elb.delete_target_group(TargetGroupArn=target_group)
    except AwsError as error:
        if error.code not in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
            raise


def delete_record(aws: Aws, host: str, record: str) -> bool:
    """Deletes the host's DNS record, if it is still the one that was made; False where it isn't."""
    try:
        _change_record(aws, "DELETE", host, record)
    except AwsError as error:
        if error.code in ("InvalidChangeBatch", "NoSuchHostedZone"):
            return False
        raise
    return True


def _make_target_group(aws: Aws, push: Push, base: Base, host: str, port: int, record: str) -> str:
    request = specs.target_group(push, port, base, host, record)
    try:
        with asking(f"can't create the target group of {push.environment.branch}"):
            made = aws.elb.create_target_group(**request)["TargetGroups"][0]
            return made.get("TargetGroupArn", "")
    except AwsError as error:
        if error.code not in ("DuplicateTargetGroupName", "DuplicateTargetGroupNameException"):
            raise
    found = remains(aws, push.environment, None)  # as an earlier deploy had it, with another health check
    update(aws, found.target_group, push.application.health, str(push.application.ecs.deregistration_delay))
    return found.target_group


def _set_delay(aws: Aws, target_group: str, delay: str) -> None:
    with asking("can't change the target group"):
        aws.elb.modify_target_group_attributes(
            TargetGroupArn=target_group,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": delay}],
        )


def _make_rule(
    aws: Aws, push: Push, base: Base, host: str, target_group: str, order: list[int], first: LoadBalancer
) -> Route:
    for shard in order:
        balancer = first if shard == order[0] else known_shard(aws, base, shard)
        record = _record(base, balancer, shard)
        try:
            rule = _make_rule_at(aws, push, balancer.listener, host, target_group)
        except AwsError as error:
            if error.code.removesuffix("Exception") in _FULL:
                continue
            raise
        if shard != order[0]:
            with asking("can't tag the target group"):
                aws.elb.add_tags(ResourceArns=[target_group], Tags=tags.aws_tags({labels.RECORD: record}))
        return Route(balancer, target_group, rule, record)
    raise ConfigurationError(
        f"no load balancer of {base.platform!r} takes another environment: all {base.shards} are full",
        remedy=f"add one: branchline aws bootstrap --shards {base.shards + 1}; or destroy what nobody needs",
    )


def _make_rule_at(aws: Aws, push: Push, listener: str, host: str, target_group: str) -> str:
    taken: set[str] = set()
    for attempt in range(_ATTEMPTS):
        priority = names.priority(host, attempt)
        if str(priority) in taken:
            continue
        try:
            with asking(f"can't create the listener rule for {host}"):
                made = aws.elb.create_rule(
                    ListenerArn=listener,
                    Priority=priority,
                    Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": [host]}}],
                    Actions=[{"Type": "forward", "TargetGroupArn": target_group}],
                    Tags=tags.aws_tags({**specs.owner(push.environment), labels.HOST: host}),
                )["Rules"][0]
                return made.get("RuleArn", "")
        except AwsError as error:
            if error.code not in ("PriorityInUse", "PriorityInUseException"):
                raise
        present = list(rules(aws, listener))
        for rule in present:  # it is ours, where the answer to an earlier attempt was lost
            if any(action.get("TargetGroupArn") == target_group for action in rule.get("Actions", [])):
                return rule.get("RuleArn", "")
        taken = {rule.get("Priority", "") for rule in present}
    raise AwsError(f"can't create the listener rule for {host}: no free priority was found", remedy="run it again")


def _record(base: Base, balancer: LoadBalancer, shard: int) -> str:
    """The record that the host needs: none where the wildcard leads to its load balancer, which is the first one."""
    if base.dns == "record" or (base.dns == "wildcard" and shard != 1):
        return f"{base.hosted_zone} {balancer.zone} {balancer.dns}"
    return ""


def _change_record(aws: Aws, action: str, host: str, record: str) -> None:
    zone, target_zone, target = record.split(" ")
    with asking(f"can't change the DNS record of {host}"):
        aws.route53.change_resource_record_sets(
            HostedZoneId=zone,
            ChangeBatch={
                "Changes": [
                    {
                        "Action": "UPSERT" if action == "UPSERT" else "DELETE",
                        "ResourceRecordSet": {
                            "Name": host,
                            "Type": "A",
                            "AliasTarget": {
                                "HostedZoneId": target_zone,
                                "DNSName": target,
                                "EvaluateTargetHealth": False,
                            },
                        },
                    }
                ]
            },
        )
