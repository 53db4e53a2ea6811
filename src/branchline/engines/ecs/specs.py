"""Decides what AWS is asked for: a release's task definition, target group, service and tags. Pure: no calls here."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypedDict

from branchline import labels, naming
from branchline.engines.ecs import names
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.sizes import check_fargate_size
from branchline.engines.ecs.tags import aws_tags, ecs_tags
from branchline.environment import EnvironmentId, Release
from branchline.errors import ConfigurationError
from branchline.image import Image, choose_port
from branchline.ports import Push

if TYPE_CHECKING:
    from types_boto3_ecs.literals import CPUArchitectureType
    from types_boto3_ecs.type_defs import (
        CapacityProviderStrategyItemTypeDef,
        ContainerDefinitionTypeDef,
        CreateServiceRequestTypeDef,
        NetworkConfigurationTypeDef,
        PortMappingTypeDef,
        RegisterTaskDefinitionRequestTypeDef,
    )
    from types_boto3_elbv2.type_defs import CreateTargetGroupInputTypeDef, MatcherTypeDef

    from branchline.settings.application import Health
    from branchline.settings.platform import PlatformSettings

INTERVAL = 5
"""Seconds between two health checks of the load balancer, the least that it takes."""
PASSES = 2
"""How many of them in a row make a target healthy, the least that it takes."""
HEALTHY = "200-399"
_FARGATE_STOP_TIMEOUT = 120
"""Seconds; Fargate gives a container no longer to stop."""
_ARCHITECTURES: dict[str, CPUArchitectureType] = {"amd64": "X86_64", "arm64": "ARM64"}


def owner(environment: EnvironmentId) -> dict[str, str]:
    """The values that everything of the environment is tagged with."""
    return {
        labels.PLATFORM: environment.platform,
        labels.PROJECT: environment.project,
        labels.BRANCH: labels.branch_value(environment.branch),
        labels.SLUG: environment.slug,
    }


def environment_id(values: dict[str, str]) -> EnvironmentId | None:
    """The environment that tags name, or None where they aren't Branchline's."""
    if not all(key in values for key in (labels.PLATFORM, labels.PROJECT, labels.BRANCH)):
        return None
    branch = labels.branch_name(values[labels.BRANCH])
    return EnvironmentId(values[labels.PLATFORM], values[labels.PROJECT], branch)


def host(push: Push, base: Base, settings: PlatformSettings) -> str:
    """The host that serves the push's environment: below the project's own domain, the operator's or the base's."""
    from branchline.settings.platform import PlatformSettings

    default = PlatformSettings().domain
    domain = push.application.domain or (base.domain if settings.domain == default else settings.domain)
    return naming.host(settings.hosts, push.environment.slug, push.environment.project, domain)


def check(push: Push, base: Base, settings: PlatformSettings) -> None:
    """Returns if ECS can run what the settings ask for.

    Raises:
        ConfigurationError: a size that Fargate doesn't have or the operator doesn't allow, or a secret given by value.
    """
    from branchline.settings.limits import memory_bytes

    task, ceiling = push.application.ecs, settings.limits
    if task.memory * 2**20 > memory_bytes(ceiling.memory) or task.cpu > ceiling.cpus * 1024:
        raise ConfigurationError(
            f"branchline.toml: ecs: cpu = {task.cpu} and memory = {task.memory} is above the ceiling of"
            f" {ceiling.cpus:g} processors (1024 units each) and {ceiling.memory} that the platform's limits set",
            remedy="ask for less, or have the operator raise the platform's ceiling",
        )
    if base.on_fargate:
        check_fargate_size(task.cpu, task.memory)
    values = sorted(
        name for name, value in push.env.items() if value in push.secrets and name not in push.application.secrets
    )
    if values:
        raise ConfigurationError(
            f"env_files give values to {', '.join(values)}, and whoever may read a task definition would see them",
            remedy="put them into SSM or Secrets Manager, and name them under [secrets] in branchline.toml",
        )


def configuration(push: Push, image: str, host: str) -> str:
    """A digest of all that decides how the release behaves. Build settings aren't in it: they made the image."""
    import msgspec

    application = msgspec.structs.replace(push.application, build=type(push.application.build)(), project=None)
    what = [image, host, msgspec.to_builtins(application), sorted(_plain_environment(push).items())]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def release_values(
    push: Push, release: Release, host: str, port: int, created: datetime, settings: PlatformSettings
) -> dict[str, str]:
    """What a release's task definition is tagged with: the record of the release."""
    import msgspec

    found = {
        **owner(push.environment),
        labels.HOST: host,
        labels.COMMIT: release.commit,
        labels.RELEASE: str(release.number),
        labels.CREATED: _stamp(created),
        labels.RELEASED: _stamp(release.created),
        labels.IMAGE: release.image,
        labels.PORT: str(port),
        labels.GRACE: str(push.application.ecs.deregistration_delay),
        labels.HEALTH: msgspec.json.encode(push.application.health).decode(),
        labels.CONFIGURATION: configuration(push, release.image, host),
    }
    if settings.lifetime:
        found = prolonged(found, settings, release.created)
    if push.source is not None:
        found[labels.REPOSITORY] = push.source.url
    return found


def prolonged(values: dict[str, str], settings: PlatformSettings, since: datetime | None = None) -> dict[str, str]:
    """The tags with the moment at which the reaper may remove the environment, its lifetime after now or `since`."""
    moment = (since or now()) + timedelta(hours=settings.lifetime)
    return {**values, labels.EXPIRES: _stamp(moment)}


def port_of(push: Push, image: Image | None) -> tuple[int, str]:
    """The application's port, and the rule that chose it. `image` may be None where the settings name the port."""
    if push.application.port is not None or image is None:
        return choose_port(push.application, (), {})
    return choose_port(push.application, image.ports, image.env)


def task_definition(
    push: Push,
    release: Release,
    image: Image | None,
    host: str,
    port: int,
    base: Base,
    region: str,
    values: dict[str, str],
) -> RegisterTaskDefinitionRequestTypeDef:
    """The release's task definition: one container."""
    task = push.application.ecs
    stop = push.application.deploy.stop_timeout
    mapping: PortMappingTypeDef = {"containerPort": port, "protocol": "tcp"}
    if not base.on_fargate:
        mapping["hostPort"] = 0  # any port of the instance that is free
    container: ContainerDefinitionTypeDef = {
        "name": names.CONTAINER,
        "image": release.image,
        "essential": True,
        "portMappings": [mapping],
        "environment": [
            {"name": name, "value": value}
            for name, value in sorted(_environment(push, image, host, port, base).items())
        ],
        "secrets": [
            {"name": name, "valueFrom": _secret(reference, base, region)}
            for name, reference in sorted(push.application.secrets.items())
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": names.log_group(push.environment),
                "awslogs-region": region,
                "awslogs-stream-prefix": str(release.number),
                "mode": "non-blocking",
            },
        },
        "stopTimeout": min(stop, _FARGATE_STOP_TIMEOUT) if base.on_fargate else stop,
        # ECS Exec leaves processes behind that somebody has to reap:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
        "linuxParameters": {"initProcessEnabled": True},
    }
    request: RegisterTaskDefinitionRequestTypeDef = {
        "family": names.family(push.environment),
        "networkMode": "awsvpc" if base.on_fargate else "bridge",
        "requiresCompatibilities": ["FARGATE" if base.on_fargate else "EC2"],
        "cpu": str(task.cpu),
        "memory": str(task.memory),
        "executionRoleArn": base.execution_role,
        "taskRoleArn": base.task_role,
        "containerDefinitions": [container],
        "tags": ecs_tags(values),
    }
    if image is not None and image.architecture in _ARCHITECTURES:
        request["runtimePlatform"] = {
            "cpuArchitecture": _ARCHITECTURES[image.architecture],
            "operatingSystemFamily": "LINUX",
        }
    return request


def target_group(push: Push, port: int, base: Base, host: str, record: str) -> CreateTargetGroupInputTypeDef:
    """The environment's target group, which asks for the health check that decides whether a release gets traffic.

    It is the first thing that an environment gets and the last that it loses, so its tags say where the rest is.
    """
    values = {**owner(push.environment), labels.HOST: host, **({labels.RECORD: record} if record else {})}
    return {
        "Name": names.target_group(push.environment),
        "Protocol": "HTTP",
        "Port": port,
        "VpcId": base.vpc,
        "TargetType": "ip" if base.on_fargate else "instance",
        **health_check(push.application.health),
        "Tags": aws_tags(values),
    }


class HealthCheck(TypedDict):
    """The part of a target group that an application's health settings decide."""

    HealthCheckProtocol: Literal["HTTP"]
    HealthCheckPath: str
    HealthCheckIntervalSeconds: int
    HealthCheckTimeoutSeconds: int
    HealthyThresholdCount: int
    UnhealthyThresholdCount: int
    Matcher: MatcherTypeDef


def health_check(health: Health) -> HealthCheck:
    """The part of a target group that an application's health settings decide."""
    # The load balancer's time-out must be shorter than its interval.
    timeout = min(math.ceil(health.request_timeout), 120)
    timeout = timeout if timeout > INTERVAL else min(timeout, INTERVAL - 1)
    return {
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPath": health.path or "/",
        "HealthCheckIntervalSeconds": max(INTERVAL, timeout + 1),
        "HealthCheckTimeoutSeconds": max(timeout, 2),
        "HealthyThresholdCount": PASSES,
        "UnhealthyThresholdCount": 3,
        "Matcher": {"HttpCode": HEALTHY},
    }


def service(
    push: Push, task_definition: str, target_group: str, port: int, base: Base, values: dict[str, str]
) -> CreateServiceRequestTypeDef:
    """The environment's service. ECS itself keeps the old tasks until the new ones are healthy, and goes back to them
    where those never are: both are asked for here."""
    request: CreateServiceRequestTypeDef = {
        "cluster": names.cluster(base.platform),
        "serviceName": names.service(push.environment),
        "taskDefinition": task_definition,
        "desiredCount": 1,
        "capacityProviderStrategy": capacity(base),
        "loadBalancers": [{"targetGroupArn": target_group, "containerName": names.CONTAINER, "containerPort": port}],
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
        },
        # Until then ECS doesn't replace a task that the load balancer finds unhealthy.
        "healthCheckGracePeriodSeconds": math.ceil(push.application.health.timeout),
        "enableExecuteCommand": True,
        "propagateTags": "SERVICE",
        "tags": ecs_tags(values),
    }
    if base.on_fargate:
        request["networkConfiguration"] = network(base)
    else:
        request["placementStrategy"] = [{"type": "binpack", "field": "memory"}]
    return request


def network(base: Base) -> NetworkConfigurationTypeDef:
    """The network of a Fargate task. It needs a public address to pull its image, as the subnets have no NAT."""
    return {
        "awsvpcConfiguration": {
            "subnets": list(base.subnets),
            "securityGroups": [base.security_group],
            "assignPublicIp": "ENABLED",
        }
    }


def capacity(base: Base, *, on_demand: bool = False) -> list[CapacityProviderStrategyItemTypeDef]:
    """Where tasks run. `on_demand` is what Fargate Spot falls back to: ECS doesn't do that by itself.

    It is a strategy and never a launch type, since only tasks with a strategy make the EC2 cluster grow.
    """
    if base.on_fargate:
        spot = base.capacity == "fargate-spot" and not on_demand
        return [{"capacityProvider": "FARGATE_SPOT" if spot else "FARGATE", "weight": 1}]
    return [{"capacityProvider": base.capacity_provider, "weight": 1}]


def service_values(values: dict[str, str], revision: int, previous: object, rule: str, record: str) -> dict[str, str]:
    """What the service is tagged with: a copy of the serving release's record, and which revision it is a copy of."""
    pointers = {
        labels.TASK: str(revision),
        labels.PREVIOUS: str(previous or ""),
        labels.RULE: rule,
        labels.RECORD: record,
    }
    return {**values, **{key: value for key, value in pointers.items() if value}}


def revision(task_definition: str) -> int:
    """The revision in a task definition's ARN."""
    return int(task_definition.rpartition(":")[2])


def now() -> datetime:
    """The present, to the second, with its zone."""
    return datetime.now(UTC).replace(microsecond=0)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _plain_environment(push: Push) -> dict[str, str]:
    """The variables whose values are given; what is a secret by reference is read by ECS itself."""
    return {name: value for name, value in push.env.items() if name not in push.application.secrets}


def _environment(push: Push, image: Image | None, host: str, port: int, base: Base) -> dict[str, str]:
    """The application's own win over Branchline's. PORT is set for those that follow the convention to listen on it."""
    given = {
        "BRANCHLINE_BRANCH": labels.branch_value(push.environment.branch),
        "BRANCHLINE_COMMIT": push.commit,
        "BRANCHLINE_PROJECT": push.environment.project,
        "BRANCHLINE_URL": f"{base.scheme}://{host}",
    }
    if image is None or "PORT" not in image.env or push.application.port is not None:
        given["PORT"] = str(port)
    return {**given, **_plain_environment(push)}


def _secret(reference: str, base: Base, region: str) -> str:
    """A secret as a task definition names it: a parameter of the same region by its name, a secret by its ARN.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
    """
    kind, _, name = reference.partition(":")
    if kind == "ssm":
        return name
    if kind == "secretsmanager":
        _, partition, _, _, account, _ = base.execution_role.split(":", 5)
        secret, _, key = name.partition(":")
        arn = f"arn:{partition}:secretsmanager:{region}:{account}:secret:{secret}"
        return f"{arn}:{key}::" if key else arn
    return reference
