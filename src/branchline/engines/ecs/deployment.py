"""Hands a release to ECS: the first one with all that its environment needs, a later one in place of another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.engines.ecs import inventory, log_groups, names, routing, services, specs, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.inventory import Previous
from branchline.engines.ecs.parallel import all_at_once, uninterrupted
from branchline.engines.ecs.routing import Route
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId, Release
from branchline.errors import EngineError
from branchline.events import Publish, Waiting
from branchline.image import Image
from branchline.ports import Push
from branchline.settings.application import Task

_POLL = 2.0
_DRAINING = "drain"
"""What the refusal to give a service the name of one that is being removed says."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A release, and all that decides how it runs."""

    push: Push
    release: Release
    base: Base
    host: str
    port: int
    image: Image | None
    values: dict[str, str]
    """The release's record."""

    @property
    def environment(self) -> EnvironmentId:
        """Whose release it is."""
        return self.push.environment


def create(
    aws: Aws,
    plan: Plan,
    before: Service | None,
    look: bool,
    registered: Callable[[str], None],
    cancellation: Cancellation,
    publish: Publish,
) -> Service:
    """Makes the environment's log group, route and service. What is there already is taken, if it is ours.

    `before` is the service, where a killed deploy or destroy left one, maybe without the rest.
    `registered` is told the task definition as soon as there is one.
    """
    arn = ""

    def register() -> None:
        nonlocal arn
        arn = _register(aws, plan, registered)

    route: list[Route] = []
    all_at_once(
        lambda: log_groups.make(aws, plan.environment, plan.base.log_retention, plan.base.execution_role),
        lambda: route.append(routing.make(aws, plan.push, plan.base, plan.host, plan.port, look=look)),
        register,
    )
    if before is not None:
        return update(aws, plan, before, registered, arn, route[0])
    values = specs.service_values(plan.values, specs.revision(arn), None, route[0].rule, route[0].record)
    request = specs.service(plan.push, arn, route[0].target_group, plan.port, plan.base, values)
    name, told = names.service(plan.environment), False
    while True:
        try:
            with asking(f"can't create the service {name}"):
                return services.read(uninterrupted(lambda: aws.ecs.create_service(**request))["service"])
        except AwsError as error:
            present = services.find(aws, plan.environment)
            if present is not None:  # the answer to an earlier attempt was lost
                return update(aws, plan, present, registered, arn, route[0])
            if _DRAINING not in error.message.lower():
                raise
        if not told:
            told = True
            publish(Waiting(plan.environment, "the service that had its name is still being removed"))
        cancellation.wait(_POLL)


def update(
    aws: Aws,
    plan: Plan,
    before: Service,
    registered: Callable[[str], None],
    arn: str = "",
    route: Route | None = None,
) -> Service:
    """Has the release take the place of the one before, which goes on serving until it is healthy.

    Returns the service as its tags are to be once the release serves; they still tell of the one before.
    """
    if not arn:
        arn = uninterrupted(lambda: _register(aws, plan, registered))
    rule = route.rule if route else before.rule
    record = route.record if route else before.values.get(labels.RECORD, "")
    values = specs.service_values(plan.values, specs.revision(arn), _to_go_back_to(before, plan), rule, record)
    coming = replace(before, task_definition=arn, port=plan.port, values=values, desired=1, running=1)
    switch(aws, plan.base, before, coming)
    return coming


def _to_go_back_to(before: Service, plan: Plan) -> Previous | None:
    """The release before, unless it isn't known to have served or was no other; then the one before that."""
    same = all(before.values.get(key) == plan.values[key] for key in (labels.IMAGE, labels.CONFIGURATION))
    if before.described and not same:
        return inventory.previous_of(before.values, before.revision)
    return inventory.previous(before.values)


def switch(aws: Aws, base: Base, now: Service, coming: Service) -> None:
    """Has the service, which is as `now` says, become as `coming` says; its tags aren't touched.

    Old and new tasks are in one target group, so the new release's health check is the old one's too from here on.
    """
    if any(now.values.get(key) != coming.values.get(key) for key in (labels.HEALTH, labels.GRACE)):
        _update_target_group(aws, coming)
    changes: services.Changes = {}
    if coming.port != now.port:
        changes["loadBalancers"] = [
            {"targetGroupArn": now.target_group, "containerName": names.CONTAINER, "containerPort": coming.port}
        ]
    wanted = specs.capacity(base)
    if now.providers != tuple(item["capacityProvider"] for item in wanted):  # it had to fall back once
        changes["capacityProviderStrategy"] = wanted
        changes["forceNewDeployment"] = True
    with asking(f"can't update the service {now.name}"):
        uninterrupted(
            lambda: aws.ecs.update_service(
                cluster=names.cluster(base.platform),
                service=now.name,
                taskDefinition=coming.task_definition,
                desiredCount=coming.desired,
                healthCheckGracePeriodSeconds=math.ceil(inventory.health(coming.values).timeout),
                **changes,
            )
        )


def go_back(aws: Aws, base: Base, before: Service, port: int) -> None:
    """Has the service, which was to become something else on that port, be as it was before."""
    _update_target_group(aws, before)
    switch(aws, base, replace(before, port=port), before)


def _update_target_group(aws: Aws, service: Service) -> None:
    delay = service.values.get(labels.GRACE, str(Task().deregistration_delay))
    routing.update(aws, service.target_group, inventory.health(service.values), delay)


def fall_back(aws: Aws, base: Base, environment: EnvironmentId) -> bool:
    """Asks for on-demand capacity in place of Spot, which ECS doesn't do by itself; False where there is no other."""
    if base.capacity != "fargate-spot":
        return False
    with asking(f"can't update the service {names.service(environment)}"):
        aws.ecs.update_service(
            cluster=names.cluster(base.platform),
            service=names.service(environment),
            capacityProviderStrategy=specs.capacity(base, on_demand=True),
            forceNewDeployment=True,
        )
    return True


def scale(aws: Aws, environment: EnvironmentId, count: int) -> None:
    """Has the service run so many tasks: none, or one."""
    with asking(f"can't update the service {names.service(environment)}"):
        aws.ecs.update_service(
            cluster=names.cluster(environment.platform), service=names.service(environment), desiredCount=count
        )


def tag(aws: Aws, service: Service, values: dict[str, str]) -> None:
    """Writes the serving release's record onto the service."""
    with asking(f"can't tag the service {service.name}"):
        aws.ecs.tag_resource(resourceArn=service.arn, tags=tags.ecs_tags(values))


def _register(aws: Aws, plan: Plan, registered: Callable[[str], None]) -> str:
    request = specs.task_definition(
        plan.push, plan.release, plan.image, plan.host, plan.port, plan.base, aws.region, plan.values
    )
    with asking(f"can't register the task definition of {plan.environment.branch}"):
        arn = aws.ecs.register_task_definition(**request)["taskDefinition"].get("taskDefinitionArn")
    if not arn:
        raise EngineError("ECS registered a task definition and didn't say which", remedy="run it again")
    registered(arn)
    return arn
