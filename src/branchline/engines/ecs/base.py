"""The platform's base: what `branchline aws bootstrap` made, read from the outputs of its CloudFormation stacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from branchline.engines.ecs import names
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.errors import ConfigurationError

if TYPE_CHECKING:
    from types_boto3_cloudformation.type_defs import StackTypeDef


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """One Application Load Balancer and the listener that has the environments' rules."""

    name: str
    arn: str
    dns: str
    """Its own DNS name."""
    zone: str
    """The hosted zone of its DNS name, which an alias record needs."""
    listener: str


@dataclass(frozen=True, slots=True)
class Base:
    """What every environment of the platform shares."""

    platform: str
    vpc: str
    subnets: tuple[str, ...]
    security_group: str
    """The tasks' own: it lets only the load balancers in."""
    capacity: str
    """`fargate-spot`, `fargate`, `ec2-spot` or `ec2`."""
    capacity_provider: str
    """The EC2 capacity provider's name; empty on Fargate."""
    execution_role: str
    task_role: str
    domain: str
    scheme: str
    """`https` where the base has a certificate, otherwise `http`."""
    dns: str
    """`wildcard`, `record` or `none`."""
    hosted_zone: str
    log_retention: int
    """Days."""
    shards: int
    load_balancer: LoadBalancer
    """The first one."""

    @property
    def on_fargate(self) -> bool:
        """Whether AWS runs the tasks, with no instances of ours."""
        return self.capacity.startswith("fargate")


def read_base(aws: Aws, platform: str) -> Base:
    """The platform's base.

    Raises:
        ConfigurationError: it hasn't been made, or not completely.
    """
    outputs = _outputs(aws, names.base_stack(platform), f"the platform {platform!r} has no base in {aws.region} yet")
    return Base(
        platform=platform,
        vpc=outputs["Vpc"],
        subnets=tuple(outputs["Subnets"].split(",")),
        security_group=outputs["TaskSecurityGroup"],
        capacity=outputs["Capacity"],
        capacity_provider=names.capacity_stack(platform) if outputs["Capacity"].startswith("ec2") else "",
        execution_role=outputs["ExecutionRole"],
        task_role=outputs["TaskRole"],
        domain=outputs["Domain"],
        scheme=outputs["Scheme"],
        dns=outputs["Dns"],
        hosted_zone=outputs.get("HostedZone", ""),
        log_retention=int(outputs["LogRetention"]),
        shards=int(outputs["Shards"]),
        load_balancer=_load_balancer(outputs, names.load_balancer(platform, 1)),
    )


def read_shard(aws: Aws, base: Base, shard: int) -> LoadBalancer:
    """The load balancer of that number, 1 being the base's own."""
    if shard == 1:
        return base.load_balancer
    stack = names.shard_stack(base.platform, shard)
    outputs = _outputs(aws, stack, f"the load balancer {shard} of {base.platform!r} is missing")
    return _load_balancer(outputs, names.load_balancer(base.platform, shard))


known_shard = lru_cache(maxsize=128)(read_shard)
"""`read_shard`, asked once in a process: for deploys, which need it more than once."""


def _load_balancer(outputs: Mapping[str, str], name: str) -> LoadBalancer:
    return LoadBalancer(
        name=name,
        arn=outputs["LoadBalancer"],
        dns=outputs["LoadBalancerDns"],
        zone=outputs["LoadBalancerZone"],
        listener=outputs["Listener"],
    )


def _outputs(aws: Aws, stack: str, missing: str) -> dict[str, str]:
    remedy = f"run 'branchline aws bootstrap'; it makes the stack {stack}"
    try:
        with asking(f"can't read the stack {stack}"):
            found: StackTypeDef = aws.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except AwsError as error:
        if error.code == "ValidationError":  # its word for a stack that doesn't exist
            raise ConfigurationError(missing, remedy=remedy) from error
        raise
    outputs = {output.get("OutputKey", ""): output.get("OutputValue", "") for output in found.get("Outputs", [])}
    if not outputs:
        status = found["StackStatus"]
        raise ConfigurationError(f"{missing}: its stack is in the state {status}", remedy=remedy)
    return outputs
