"""Makes a platform's base, or brings it to what is wanted: `branchline aws bootstrap`. Repeatable at any point.

A further load balancer is there before the base says so, and the base says so no more before it goes, since deploys
go by what the base says.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, takewhile

from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, stacks, webhook
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base, read_base, read_shard
from branchline.engines.ecs.base_plan import Plan
from branchline.engines.ecs.stacks import Change, Outcome, Report, Stack
from branchline.engines.ecs.webhook_secret import NOTHING_TOLD, Document
from branchline.errors import ConfigurationError

_UNPROTECTED_AT_ONCE = 50
"""https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceProtection.html"""


@dataclass(frozen=True, slots=True)
class Made:
    """What bootstrap did."""

    base: Base
    outcomes: dict[str, str]
    """What became of each stack, by its name: created, updated, unchanged, deleted."""
    notes: tuple[str, ...]
    """What is left to do, or worth knowing."""
    endpoint: str = ""
    """The URL below which forges post; empty where they aren't listened to."""


def bootstrap(aws: Aws, plan: Plan, report: Report, cancellation: Cancellation, told: Document = NOTHING_TOLD) -> Made:
    """Makes the base and what belongs to it, in the order in which each is needed.

    `told` is what the webhook's function is told of the operator's settings.

    Raises:
        AwsError: AWS refuses something; says what.
        ConfigurationError: a stack isn't ours, or a load balancer that should go is in use.
    """
    leaving = surplus_shards(aws, plan.platform, plan.shards)
    for shard in leaving:
        _check_unused(aws, read_base(aws, plan.platform), shard)
    if not plan.shards_now:
        _allow_ecs(aws)
    outcomes: dict[str, str] = {}

    def deploy(stack: Stack) -> None:
        outcome: Outcome = stacks.deploy(aws, stack, report, cancellation)
        if outcome != "unchanged" or stack.name not in outcomes:
            outcomes[stack.name] = outcome

    deploy(plan.base(min(plan.shards, plan.shards_now or plan.shards)))
    outputs = _outputs(aws, plan)
    capacity = names.capacity_stack(plan.platform)
    if plan.on_instances:
        deploy(_capacity(plan, outputs))
    elif remove_capacity(aws, plan.platform, report, cancellation):
        outcomes[capacity] = "deleted"
    for shard in range(2, plan.shards + 1):
        deploy(_shard(plan, outputs, shard))
    if 0 < plan.shards_now < plan.shards:
        deploy(plan.base(plan.shards))
    for shard in reversed(leaving):
        name = names.shard_stack(plan.platform, shard)
        if stacks.delete(aws, name, plan.platform, report, cancellation):
            outcomes[name] = "deleted"
    listening, endpoint = plan.listening(), ""
    if listening is not None:
        deploy(listening)
        made = webhook.require(aws, plan.platform)
        webhook.equip(aws, made, told, cancellation)
        endpoint = made.endpoint
    elif stacks.delete(aws, names.webhook_stack(plan.platform), plan.platform, report, cancellation):
        outcomes[names.webhook_stack(plan.platform)] = "deleted"
    base = read_base(aws, plan.platform)
    return Made(base, outcomes, tuple(_notes(plan, base)), endpoint)


def preview(aws: Aws, plan: Plan, cancellation: Cancellation) -> dict[str, list[Change]]:
    """What `bootstrap` would do to each stack, with nothing left of the question.

    What hangs on a base that isn't there yet is only named: its parameters aren't known.
    """
    changes = {names.base_stack(plan.platform): stacks.preview(aws, plan.base(plan.shards), cancellation)}
    listening = plan.listening()
    if listening is not None:
        changes[listening.name] = stacks.preview(aws, listening, cancellation)
    further = [names.shard_stack(plan.platform, shard) for shard in range(2, plan.shards + 1)]
    if plan.shards_now:
        outputs = _outputs(aws, plan)
        if plan.on_instances:
            stack = _capacity(plan, outputs)
            changes[stack.name] = stacks.preview(aws, stack, cancellation)
        for shard in range(2, plan.shards + 1):
            stack = _shard(plan, outputs, shard)
            changes[stack.name] = stacks.preview(aws, stack, cancellation)
    else:
        further += [names.capacity_stack(plan.platform)] if plan.on_instances else []
        changes |= {name: [Change("Add", name, stacks.KIND, False)] for name in further}
    going = [names.shard_stack(plan.platform, shard) for shard in surplus_shards(aws, plan.platform, plan.shards)]
    capacity = names.capacity_stack(plan.platform)
    if not plan.on_instances and stacks.find(aws, capacity, plan.platform) is not None:
        going.append(capacity)
    if listening is None and stacks.find(aws, names.webhook_stack(plan.platform), plan.platform) is not None:
        going.append(names.webhook_stack(plan.platform))
    return changes | {name: [Change("Remove", name, stacks.KIND, False)] for name in going}


def surplus_shards(aws: Aws, platform: str, kept: int) -> list[int]:
    """The numbers of the load balancers beyond those that are kept. They are made upwards and removed downwards."""
    return list(
        takewhile(
            lambda shard: stacks.find(aws, names.shard_stack(platform, shard), platform) is not None, count(kept + 1)
        )
    )


def remove_capacity(aws: Aws, platform: str, report: Report, cancellation: Cancellation) -> bool:
    """Removes the EC2 instances; returns whether there were any to remove.

    They are protected from scaling in, which CloudFormation would wait for.
    """
    name = names.capacity_stack(platform)
    if stacks.find(aws, name, platform) is None:
        return False
    unprotect(aws, name)
    return stacks.delete(aws, name, platform, report, cancellation)


def unprotect(aws: Aws, group: str) -> None:
    """Lets the instances of an Auto Scaling group be ended, and all that are still to come."""
    with asking(f"can't take the protection from the instances of {group}"):
        groups = aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
        if not groups:
            return
        # First, so that no protected one comes after the others were looked at.
        aws.autoscaling.update_auto_scaling_group(AutoScalingGroupName=group, NewInstancesProtectedFromScaleIn=False)
        groups = aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
        instances: list[str] = [instance["InstanceId"] for found in groups for instance in found["Instances"]]
        for start in range(0, len(instances), _UNPROTECTED_AT_ONCE):
            aws.autoscaling.set_instance_protection(
                AutoScalingGroupName=group,
                InstanceIds=instances[start : start + _UNPROTECTED_AT_ONCE],
                ProtectedFromScaleIn=False,
            )


def _outputs(aws: Aws, plan: Plan) -> dict[str, str]:
    found = stacks.find(aws, names.base_stack(plan.platform), plan.platform)
    outputs = found.get("Outputs", []) if found is not None else []
    return {output.get("OutputKey", ""): output.get("OutputValue", "") for output in outputs}


def _shard(plan: Plan, outputs: dict[str, str], shard: int) -> Stack:
    return Stack(
        names.shard_stack(plan.platform, shard),
        plan.platform,
        "load-balancer",
        {
            "Platform": plan.platform,
            "Number": str(shard),
            "SubnetIds": outputs["Subnets"],
            "SecurityGroupId": outputs["LoadBalancerSecurityGroup"],
            "CertificateArn": outputs.get("Certificate", ""),
        },
    )


def _capacity(plan: Plan, outputs: dict[str, str]) -> Stack:
    least, most = map(str, plan.instances or ("", ""))
    asked = {"MinInstances": least, "MaxInstances": most} if plan.instances else {}
    return Stack(
        names.capacity_stack(plan.platform),
        plan.platform,
        "capacity-ec2",
        {
            "Platform": plan.platform,
            "Capacity": plan.parameters["Capacity"],
            "SubnetIds": outputs["Subnets"],
            "SecurityGroupId": outputs["TaskSecurityGroup"],
            **asked,
        },
    )


def _check_unused(aws: Aws, base: Base, shard: int) -> None:
    """A load balancer that still has environments must not go."""
    listener = read_shard(aws, base, shard).listener
    with asking(f"can't look at the rules of the load balancer {shard}"):
        rules = aws.elb.describe_rules(ListenerArn=listener)["Rules"]
    if any(not rule.get("IsDefault") for rule in rules):
        raise ConfigurationError(
            f"the load balancer {shard} still has environments, so there can't be fewer than {shard}",
            remedy="destroy or redeploy what is on it ('branchline aws doctor' shows the load balancers' use)",
        )


def _allow_ecs(aws: Aws) -> None:
    """An account that has never used ECS lacks the role that ECS acts with: a cluster with capacity providers fails.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-service-linked-roles.html
    """
    try:
        with asking("can't make the service-linked role of Amazon ECS"):
            aws.iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    except AwsError as error:
        if error.code not in ("InvalidInput", "EntityAlreadyExists"):  # there is one: the former is AWS's word for it
            raise


def _notes(plan: Plan, base: Base) -> list[str]:
    name = base.load_balancer.dns
    if plan.domain.endswith(".branchline.internal"):
        return [
            f"there is no domain: hosts end with {base.domain}, which no DNS knows. They are reached at {name}"
            " with their name in the Host header. --domain gives it one"
        ]
    if base.dns != "none":
        return []
    notes = [f"make a DNS record: *.{base.domain} is an alias of, or a CNAME for, {name}"]
    if plan.shards > 1:
        notes.append("environments on the other load balancers need records of their own")
    if not plan.has_certificate:
        notes.append(
            "no public hosted zone of this account has the domain, so there is no certificate, and plain HTTP;"
            " --certificate ARN gives it one"
        )
    return notes
