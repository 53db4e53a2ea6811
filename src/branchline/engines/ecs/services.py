"""ECS services as Branchline sees them: one is an environment, and its tags say which."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from branchline import labels
from branchline.engines.ecs import names, specs, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import (
        CapacityProviderStrategyItemTypeDef,
        DeploymentTypeDef,
        LoadBalancerTypeDef,
        ServiceTypeDef,
    )

_AT_ONCE = 10
"""How many services one call describes at the most."""


class Changes(TypedDict, total=False):
    """What an update may change beside the task definition."""

    loadBalancers: list[LoadBalancerTypeDef]
    capacityProviderStrategy: list[CapacityProviderStrategyItemTypeDef]
    forceNewDeployment: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A service that isn't being removed."""

    name: str
    arn: str
    task_definition: str
    """The ARN of the one that serves, or is to."""
    target_group: str
    port: int
    desired: int
    running: int
    providers: tuple[str, ...]
    """The capacity providers of its strategy."""
    values: dict[str, str]
    """What its tags say."""
    deployments: tuple[DeploymentTypeDef, ...] = field(compare=False)
    events: tuple[str, ...] = ()
    """The latest first."""

    @property
    def revision(self) -> int:
        """The serving task definition's."""
        return specs.revision(self.task_definition)

    @property
    def rule(self) -> str:
        """The ARN of the listener rule that leads to it."""
        return self.values.get(labels.RULE, "")

    @property
    def described(self) -> bool:
        """Whether the tags describe the task definition that serves. A killed deploy leaves them a step behind."""
        return self.values.get(labels.TASK) == str(self.revision)


def find(aws: Aws, environment: EnvironmentId) -> Service | None:
    """The environment's service, or None.

    Raises:
        ConfigurationError: there is no such cluster, or a service of that name which isn't Branchline's.
    """
    name = names.service(environment)
    found = next(iter(_describe(aws, environment.platform, [name])), None)
    if found is not None and found.values.get(labels.PLATFORM) != environment.platform:
        raise ConfigurationError(
            f"the service {name} is not Branchline's: it lacks the tag {labels.PLATFORM} = {environment.platform}",
            remedy="remove or rename it; Branchline changes nothing that it doesn't own",
        )
    return found


def every(aws: Aws, platform: str) -> list[Service]:
    """Every environment's service on the platform."""
    with _no_cluster(platform), asking("can't list the services"):
        pages = aws.ecs.get_paginator("list_services").paginate(
            cluster=names.cluster(platform), PaginationConfig={"PageSize": 100}
        )
        arns = [arn for page in pages for arn in page["serviceArns"]]
    groups = [arns[start : start + _AT_ONCE] for start in range(0, len(arns), _AT_ONCE)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        described = list(pool.map(partial(_describe, aws, platform), groups))
    return [item for group in described for item in group if item.values.get(labels.PLATFORM) == platform]


def _describe(aws: Aws, platform: str, wanted: list[str]) -> list[Service]:
    with _no_cluster(platform), asking("can't read the services"):
        answer = aws.ecs.describe_services(cluster=names.cluster(platform), services=wanted, include=["TAGS"])
    return [read(raw) for raw in answer["services"] if raw.get("status") == "ACTIVE"]


def read(raw: ServiceTypeDef) -> Service:
    """From the API's answer."""
    balancers = raw.get("loadBalancers") or [{}]
    return Service(
        name=raw.get("serviceName", ""),
        arn=raw.get("serviceArn", ""),
        task_definition=raw.get("taskDefinition", ""),
        target_group=balancers[0].get("targetGroupArn", ""),
        port=balancers[0].get("containerPort", 0),
        desired=raw.get("desiredCount", 0),
        running=raw.get("runningCount", 0),
        providers=tuple(item["capacityProvider"] for item in raw.get("capacityProviderStrategy", [])),
        values=tags.read(raw.get("tags", [])),
        deployments=tuple(raw.get("deployments", [])),
        events=tuple(_messages(raw)),
    )


def _messages(raw: ServiceTypeDef) -> Iterable[str]:
    return (event.get("message", "") for event in raw.get("events", [])[:20])


@contextmanager
def _no_cluster(platform: str) -> Generator[None]:
    """Explains that the platform has no cluster."""
    try:
        yield
    except AwsError as error:
        if error.code == "ClusterNotFoundException":
            raise ConfigurationError(
                f"the platform {platform!r} has no cluster in this region",
                remedy="run 'branchline aws bootstrap', or correct the platform's name and region in platform.toml",
            ) from error
        raise
