"""What killed deploys and destroys left behind, found by looking at all that carries the platform's tags.

The tagging API leaves out load balancers' resources, so each service is asked for its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from branchline import labels, naming
from branchline.engines.ecs import inventory, names, removal, routing, services, specs, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base, read_shard
from branchline.engines.ecs.image_store import EcsImageStore
from branchline.engines.ecs.lease import DynamoLease
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId

_Found = Iterator[tuple[EnvironmentId, str]]


def find(aws: Aws, base: Base, images: EcsImageStore, lease: DynamoLease) -> dict[EnvironmentId, list[str]]:
    """By environment, what no service uses and nobody is making now."""
    whole = {
        environment: service
        for service in services.every(aws, base.platform)
        if (environment := specs.environment_id(service.values)) is not None
    }
    found: dict[EnvironmentId, list[str]] = {}
    for environment, what in (
        *_target_groups(aws, base, whole),
        *_rules(aws, base, whole),
        *_log_groups(aws, base, whole),
        *_families(aws, base, whole),
        *_images(base, images, whole),
    ):
        found.setdefault(environment, []).append(what)
    # Asked after all the rest, so that a deploy which began meanwhile is left alone.
    for record in lease.records(None):
        if record.held:
            found.pop(record.environment, None)
        elif record.unclean:
            found.setdefault(record.environment, []).append("what a killed deploy began")
    return found


def sweep(aws: Aws, base: Base, images: EcsImageStore, environment: EnvironmentId, service: Service) -> list[str]:
    """Removes what an environment has beside what its service uses; returns what that was."""
    kept = inventory.kept(service.values, service.revision)
    revisions = {each.revision for each in kept}
    others = [arn for arn in removal.revisions_of(aws, environment) if specs.revision(arn) not in revisions]
    return [
        *removal.remove_other_rules(aws, environment, base, service),
        *removal.remove_revisions(aws, others),
        *images.remove(environment, keep=[each.image for each in kept]),
    ]


def _target_groups(aws: Aws, base: Base, whole: dict[EnvironmentId, Service]) -> _Found:
    with asking("can't list the target groups"):
        pages = aws.elb.get_paginator("describe_target_groups").paginate()
        groups = [group for page in pages for group in page["TargetGroups"]]
    ours = [group.get("TargetGroupArn", "") for group in groups if group.get("TargetGroupName", "").startswith("bl-")]
    for arn, values in routing.tag_values(aws, ours).items():
        environment = _of_platform(values, base)
        if environment is not None and (environment not in whole or whole[environment].target_group != arn):
            yield environment, f"target group {arn.split('/')[-2]}"


def _rules(aws: Aws, base: Base, whole: dict[EnvironmentId, Service]) -> _Found:
    for shard in range(1, base.shards + 1):
        listed = routing.rules(aws, read_shard(aws, base, shard).listener)
        arns = [rule.get("RuleArn", "") for rule in listed if not rule.get("IsDefault")]
        for arn, values in routing.tag_values(aws, arns).items():
            environment = _of_platform(values, base)
            if environment is not None and (environment not in whole or whole[environment].rule != arn):
                yield environment, f"listener rule {arn.rpartition('/')[2]}"


def _log_groups(aws: Aws, base: Base, whole: dict[EnvironmentId, Service]) -> _Found:
    used = {names.log_group(environment) for environment in whole}
    with asking("can't list the log groups"):
        pages = aws.logs.get_paginator("describe_log_groups").paginate(
            logGroupNamePrefix=names.log_groups(base.platform)
        )
        groups = [group for page in pages for group in page["logGroups"]]
    for group in groups:
        name = group.get("logGroupName", "")
        if name in used:
            continue
        environment = _of_platform(_tags_of_logs(aws, name, group.get("arn", "").removesuffix(":*")), base)
        if environment is not None:
            yield environment, f"log group {name}"


def _families(aws: Aws, base: Base, whole: dict[EnvironmentId, Service]) -> _Found:
    used = {names.family(environment) for environment in whole}
    with asking("can't list the task definitions"):
        pages = aws.ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=names.families(base.platform), status="ACTIVE"
        )
        families = [family for page in pages for family in page["families"]]
    for family in families:
        if family in used:
            continue
        environment = _of_platform(_tags_of_family(aws, family), base)
        if environment is not None:
            yield environment, f"task definitions {family}"


def _tags_of_logs(aws: Aws, name: str, arn: str) -> dict[str, str]:
    """None where it has gone since it was listed."""
    try:
        with asking(f"can't read the tags of the log group {name}"):
            return tags.decode(aws.logs.list_tags_for_resource(resourceArn=arn)["tags"])
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return {}
        raise


def _tags_of_family(aws: Aws, family: str) -> dict[str, str]:
    """The latest task definition's. None where all have gone since the family was listed."""
    try:
        with asking(f"can't read the task definition {family}"):
            return tags.read(aws.ecs.describe_task_definition(taskDefinition=family, include=["TAGS"]).get("tags", []))
    except AwsError as error:
        if error.code == "ClientException":  # its word for one that isn't there
            return {}
        raise


def _images(base: Base, images: EcsImageStore, whole: dict[EnvironmentId, Service]) -> _Found:
    """An image has no tags but the slug in its name, which tells the branch only where it is one.

    For the others there is the lease of the deploy that was killed.
    """
    used = {(environment.project, environment.slug) for environment in whole}
    for project, slugs in images.owners().items():
        for slug in slugs:
            if (project, slug) not in used and naming.slug(slug) == slug:
                yield EnvironmentId(base.platform, project, slug), f"images of {slug}"


def _of_platform(values: dict[str, str], base: Base) -> EnvironmentId | None:
    return specs.environment_id(values) if values.get(labels.PLATFORM) == base.platform else None
