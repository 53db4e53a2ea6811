"""Removes what an environment has on AWS, in the order in which nothing is in use any more, and only what is ours.

A service's tags say where everything is, so an environment that is whole goes with few calls. What a killed deploy or
destroy left is looked for by its computed names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from branchline import labels
from branchline.engines.ecs import inventory, log_groups, names, routing, services, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.image_store import EcsImageStore
from branchline.engines.ecs.parallel import all_at_once
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId

if TYPE_CHECKING:
    from types_boto3_ecs.literals import TaskDefinitionStatusType

_DELETED_AT_ONCE = 10


def destroy(
    aws: Aws, environment: EnvironmentId, images: EcsImageStore, base: Callable[[], Base], *, look: bool
) -> list[str]:
    """Removes everything; returns what that was.

    `look` says that more may be there than the service tells of.
    """
    service = services.find(aws, environment)
    if service is None or look or not service.described:
        return _search_and_destroy(aws, environment, images, base(), service)
    image_tags = [inventory.image_tag(service.values)]
    revisions = [service.task_definition]
    if before := inventory.previous(service.values):
        image_tags.append(before.image)
        revisions.append(sibling(service.task_definition, before.revision))
    removed: list[str] = []
    if service.rule:
        removed += _rule(aws, service.rule)
    removed += _record(aws, service.values)
    parts = all_at_once(
        lambda: _service(aws, environment),
        lambda: log_groups.remove(aws, environment, service.arn),
        lambda: images.remove_tags(environment, [tag for tag in image_tags if tag]),
    )
    removed += [line for part in parts for line in part]
    removed += remove_revisions(aws, revisions)
    removed += _target_group(aws, environment, service.target_group)
    return removed


def _search_and_destroy(
    aws: Aws, environment: EnvironmentId, images: EcsImageStore, base: Base, service: Service | None
) -> list[str]:
    found = routing.remains(aws, environment, base)
    removed: list[str] = []
    own = {service.rule} if service and service.rule else set[str]()
    for rule in own.union(found.rules):
        removed += _rule(aws, rule)
    record = found.record or (service.values.get(labels.RECORD, "") if service else "")
    host = found.host or (service.values.get(labels.HOST, "") if service else "")
    removed += _record(aws, {labels.RECORD: record, labels.HOST: host})
    if service is not None:
        removed += _service(aws, environment)
    removed += log_groups.remove(aws, environment, base.execution_role)
    removed += images.remove(environment, keep=())
    removed += remove_revisions(aws, revisions_of(aws, environment))
    if found.target_group:
        removed += _target_group(aws, environment, found.target_group)
    return removed


def revisions_of(aws: Aws, environment: EnvironmentId) -> list[str]:
    """The ARNs of the environment's task definitions, also of those that were deregistered but not deleted.

    Those in its family that lack our tags are others'.
    """
    statuses: tuple[TaskDefinitionStatusType, ...] = ("ACTIVE", "INACTIVE")
    found: list[str] = []
    for status in statuses:
        with asking("can't list the task definitions"):
            pages = aws.ecs.get_paginator("list_task_definitions").paginate(
                familyPrefix=names.family(environment), status=status
            )
            found += [arn for page in pages for arn in page["taskDefinitionArns"]]
    # The parameter is called a prefix, and documented to be the whole name. What is found here is deleted.
    family = [arn for arn in found if arn.split("/")[-1].partition(":")[0] == names.family(environment)]
    return [arn for arn in family if _is_ours(aws, environment, arn)]


def _is_ours(aws: Aws, environment: EnvironmentId, revision: str) -> bool:
    with asking(f"can't read the task definition {revision}"):
        raw = aws.ecs.describe_task_definition(taskDefinition=revision, include=["TAGS"]).get("tags", [])
    return tags.read(raw).get(labels.PLATFORM) == environment.platform


def remove_revisions(aws: Aws, revisions: Iterable[str]) -> list[str]:
    """Deregisters and deletes task definitions; those that are gone are no error."""
    going = list(revisions)
    for revision in going:
        try:
            with asking(f"can't deregister the task definition {revision}"):
                aws.ecs.deregister_task_definition(taskDefinition=revision)
        except AwsError as error:  # its word for one that is gone
            if error.code not in ("ClientException", "InvalidParameterException"):
                raise
    deleted: list[str] = []
    for start in range(0, len(going), _DELETED_AT_ONCE):
        with asking("can't delete the task definitions"):
            answer = aws.ecs.delete_task_definitions(taskDefinitions=going[start : start + _DELETED_AT_ONCE])
        deleted += [item.get("taskDefinitionArn", "") for item in answer["taskDefinitions"]]
    return [f"task definition {arn.rpartition('/')[2]}" for arn in deleted]


def remove_other_rules(aws: Aws, environment: EnvironmentId, base: Base, service: Service) -> list[str]:
    """Removes the rules that lead to the environment beside the service's own: a call that was sent twice made them."""
    rules = routing.remains(aws, environment, base).rules
    return [line for rule in rules if rule != service.rule for line in _rule(aws, rule)]


def sibling(task_definition: str, revision: int) -> str:
    """The ARN of another revision of the same task definition."""
    return f"{task_definition.rpartition(':')[0]}:{revision}"


def _rule(aws: Aws, rule: str) -> list[str]:
    return [f"listener rule {rule.rpartition('/')[2]}"] if routing.delete_rule(aws, rule) else []


def _record(aws: Aws, values: dict[str, str]) -> list[str]:
    host, record = values.get(labels.HOST, ""), values.get(labels.RECORD, "")
    return [f"DNS record {host}"] if host and record and routing.delete_record(aws, host, record) else []


def _service(aws: Aws, environment: EnvironmentId) -> list[str]:
    name = names.service(environment)
    try:
        with asking(f"can't delete the service {name}"):
            aws.ecs.delete_service(cluster=names.cluster(environment.platform), service=name, force=True)
    except AwsError as error:
        if error.code in ("ServiceNotFoundException", "ServiceNotActiveException"):
            return []
        raise
    return [f"service {name}"]


def _target_group(aws: Aws, environment: EnvironmentId, arn: str) -> list[str]:
    routing.delete_target_group(aws, arn)
    return [f"target group {names.target_group(environment)}"]
