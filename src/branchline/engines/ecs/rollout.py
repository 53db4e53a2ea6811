"""Waits until a new release serves through the load balancer, or finds out why it doesn't.

ECS saying that a deployment is complete is not enough, and not needed: a release serves when the load balancer finds
its task healthy, sends no requests to any other, and answers our own request for the host. An answer doesn't tell the
new release from the old one, but the addresses of the tasks do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from branchline.cancellation import Cancellation
from branchline.engines.ecs import failures, names, output, probe, services
from branchline.engines.ecs.aws import Aws, asking
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.failures import Cause
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId
from branchline.errors import ReleaseError
from branchline.events import Note, Publish

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import DeploymentTypeDef, TaskTypeDef

    from branchline.settings.application import Health

_FIRST_POLL, _POLL = 0.1, 2.0
"""Seconds between two looks: the first pause, from which they grow, and the longest."""
_PLACED = 600.0
"""Seconds in which a task has to run: an EC2 instance may have to be started for it, and the image to be pulled."""
_GROWTH = 1.15
_KNOWN = 10.0
"""Seconds in which ECS is consistent: until then, an answer may be from before the change that is waited for."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A release that was handed to ECS, and how it is told that it serves."""

    environment: EnvironmentId
    number: int
    base: Base
    task_definition: str
    """Its ARN."""
    host: str
    health: Health
    balancer: probe.Address

    @property
    def path(self) -> str:
        """What is asked for."""
        return self.health.path or "/"


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at one moment."""

    task: TaskTypeDef | None
    """The release's task, once it runs."""
    problem: str = ""
    """Why it doesn't serve yet; empty where it does."""


def wait(
    aws: Aws, rollout: Rollout, cancellation: Cancellation, publish: Publish, fall_back: Callable[[], bool]
) -> None:
    """Returns once the release serves.

    `fall_back` is called when there is no capacity for its task, to ask for another kind; it says whether there is one.

    Raises:
        ReleaseError: it doesn't, and why, with the last lines that it printed.
    """
    begun = time.monotonic()
    running_since = 0.0
    pause = _FIRST_POLL
    told = False
    while True:
        service = services.find(aws, rollout.environment)
        look = _look(aws, rollout, service)
        if not look.problem:
            return
        now = time.monotonic()
        _check(aws, rollout, service, look, known=now - begun > _KNOWN)
        if look.task is not None:
            running_since = running_since or now
            if now - running_since > rollout.health.timeout:
                raise _never_healthy(aws, rollout, look)
        else:
            running_since = 0.0
            lacking = failures.lacks_capacity(service.events if service else ())
            if lacking and not told:
                told = True
                then = "asking for on-demand capacity" if fall_back() else "waiting for it"
                publish(Note(rollout.environment, f"no capacity for its task now, {then}: {lacking}", warning=True))
            if now - begun > _PLACED:
                why = lacking or look.problem
                cause = Cause(
                    f"after {_PLACED / 60:g} minutes it had no running task: {why}",
                    remedy="'branchline aws doctor' looks at the quotas and the capacity",
                )
                raise _error(aws, rollout, cause, None)
        cancellation.wait(pause)
        pause = min(pause * _GROWTH, _POLL)


def _look(aws: Aws, rollout: Rollout, service: Service | None) -> _Look:
    nothing = service is None or not any(item.get("runningCount") for item in _deployments(rollout, service))
    running = [] if nothing else tasks(aws, rollout, "RUNNING")
    running = [task for task in running if task.get("lastStatus") == "RUNNING"]
    if not running or service is None:
        return _Look(None, "no task of it runs yet")
    addresses = {address: task for task in running for address in _addresses(aws, rollout, task, service.port)}
    with asking("can't read the health of the targets"):
        targets = aws.elb.describe_target_health(TargetGroupArn=service.target_group)["TargetHealthDescriptions"]
    task, healthy = running[0], False
    problem = "the load balancer doesn't know its task yet"
    for described in targets:
        target, health = described.get("Target", {"Id": ""}), described.get("TargetHealth", {})
        state = health.get("State", "")
        if (target["Id"], target.get("Port", 0)) in addresses:
            healthy = state == "healthy"
            said = health.get("Description") or health.get("Reason") or state
            problem = f"the load balancer's health check of {rollout.path}: {said}"
        elif state == "healthy":
            return _Look(task, "the load balancer still sends requests to the previous release")
    if not healthy:
        return _Look(task, problem)
    answer = probe.ask(rollout.balancer, rollout.host, rollout.path, rollout.health.request_timeout)
    return _Look(task, "" if answer.healthy else f"{rollout.path} {answer}")


def _deployments(rollout: Rollout, service: Service) -> list[DeploymentTypeDef]:
    """The service's deployments of the release: two, where it had to fall back to other capacity."""
    return [item for item in service.deployments if item.get("taskDefinition") == rollout.task_definition]


def tasks(aws: Aws, rollout: Rollout, desired: Literal["RUNNING", "STOPPED"]) -> list[TaskTypeDef]:
    """The release's tasks that are to run, or that have stopped (of which ECS keeps the last hour's)."""
    cluster = names.cluster(rollout.environment.platform)
    described: list[TaskTypeDef] = []
    with asking("can't read the tasks"):
        pages = aws.ecs.get_paginator("list_tasks").paginate(
            cluster=cluster, family=names.family(rollout.environment), desiredStatus=desired
        )
        for page in pages:
            if page["taskArns"]:
                described += aws.ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])["tasks"]
    return [task for task in described if task.get("taskDefinitionArn") == rollout.task_definition]


def _addresses(aws: Aws, rollout: Rollout, task: TaskTypeDef, port: int) -> list[tuple[str, int]]:
    """What the task's targets are called: its own address on Fargate, the instance's id and a port of it on EC2."""
    if rollout.base.on_fargate:
        details = (detail for attached in task.get("attachments", []) for detail in attached.get("details", []))
        return [(detail.get("value", ""), port) for detail in details if detail.get("name") == "privateIPv4Address"]
    with asking("can't read which instance the task is on"):
        instances = aws.ecs.describe_container_instances(
            cluster=names.cluster(rollout.environment.platform),
            containerInstances=[task.get("containerInstanceArn", "")],
        )["containerInstances"]
    bindings = (binding for item in task.get("containers", []) for binding in item.get("networkBindings", []))
    ports = [binding.get("hostPort", 0) for binding in bindings]
    return [(instance.get("ec2InstanceId", ""), number) for instance in instances for number in ports]


def _check(aws: Aws, rollout: Rollout, service: Service | None, look: _Look, *, known: bool) -> None:
    """Raises where waiting on is of no use. `known` says that what is missing is really missing."""
    if service is None:
        if not known:
            return
        raise _error(aws, rollout, Cause("its service was removed meanwhile", printed=False), None)
    deployment = next(iter(_deployments(rollout, service)), None)
    given_up = known if deployment is None else deployment.get("rolloutState") == "FAILED"
    if look.task is None or given_up or (deployment and deployment.get("failedTasks")):
        for task in tasks(aws, rollout, "STOPPED"):
            if cause := failures.of_task(task):
                raise _error(aws, rollout, cause, task)
    if given_up:
        reason = deployment.get("rolloutStateReason", "") if deployment else "another deployment took its place"
        raise _error(aws, rollout, Cause(f"ECS gave it up: {reason.rstrip('.')}; {look.problem}"), look.task)


def _never_healthy(aws: Aws, rollout: Rollout, look: _Look) -> ReleaseError:
    cause = Cause(
        f"it was not healthy after {rollout.health.timeout:g} s: {look.problem}",
        remedy="health.path and health.timeout in branchline.toml say what is asked for, and for how long",
    )
    return _error(aws, rollout, cause, look.task)


def _error(aws: Aws, rollout: Rollout, cause: Cause, task: TaskTypeDef | None) -> ReleaseError:
    """The failure with the last lines that the task printed."""
    lines: tuple[str, ...] = ()
    if cause.printed and task is not None:
        lines = output.last_lines(aws, rollout.environment, rollout.number, task.get("taskArn", ""))
    return ReleaseError(
        f"release {rollout.number} of {rollout.environment.branch} doesn't serve: {cause.message}",
        remedy=cause.remedy,
        details=lines,
    )
