"""Takes a platform's base down: `branchline aws teardown`. Running it again is no error, and goes on where it ended.

Stacks go in the reverse of the order in which they were made. What killed deploys and destroys left, and the image
repositories, which deploys make, are looked for by name, and are removed only with the platform's tag.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from branchline import labels, naming
from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, routing, stacks, tags
from branchline.engines.ecs.aws import Aws, asking
from branchline.engines.ecs.base_plan import find_base, listed, live_services
from branchline.engines.ecs.bootstrap import remove_capacity, surplus_shards
from branchline.engines.ecs.stacks import Report
from branchline.errors import ConfigurationError

if TYPE_CHECKING:
    from types_boto3_acm.type_defs import ResourceRecordTypeDef

_DELETED_AT_ONCE = 10
"""Task definitions: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html"""
_PATIENCE = 10 * 60
"""Seconds for the tasks of removed services to end; each has two minutes at the most after it was told to."""


def teardown(
    aws: Aws,
    platform: str,
    report: Report,
    cancellation: Cancellation,
    remove_environments: Callable[[], list[str]] | None = None,
) -> list[str]:
    """Removes all that the platform has in the account and region; returns what that was.

    `remove_environments` destroys all environments and returns what they had; without it, there must be none.

    Raises:
        ConfigurationError: environments live, or a stack isn't ours.
        AwsError: something can't be removed; says what holds it.
    """
    naming.check_name(platform, "platform's name", naming.PLATFORM_LENGTH)
    base = find_base(aws, platform)
    removed: list[str] = []
    if live := live_services(aws, platform):
        if remove_environments is None:
            raise ConfigurationError(
                f"environments of the platform {platform!r} live ({len(live)}): {listed(live)}",
                remedy="give --with-environments to remove them first",
            )
        removed += remove_environments()
    if stacks.delete(aws, names.webhook_stack(platform), platform, report, cancellation):
        removed.append(f"stack {names.webhook_stack(platform)}")
    _wait_for_tasks(aws, platform, cancellation)
    if remove_capacity(aws, platform, report, cancellation):
        removed.append(f"stack {names.capacity_stack(platform)}")
    for shard in reversed(surplus_shards(aws, platform, 1)):
        name = names.shard_stack(platform, shard)
        if stacks.delete(aws, name, platform, report, cancellation):
            removed.append(f"stack {name}")
    if base is not None:
        outputs = {item.get("OutputKey", ""): item.get("OutputValue", "") for item in base.get("Outputs", [])}
        removed += _proof_of_domain(aws, outputs.get("HostedZone", ""), outputs.get("Certificate", ""))
    if stacks.delete(aws, names.base_stack(platform), platform, report, cancellation):
        removed.append(f"stack {names.base_stack(platform)}")
    removed += _target_groups(aws, platform)
    removed += _repositories(aws, platform)
    removed += _log_groups(aws, platform)
    removed += _task_definitions(aws, platform)
    return removed


def _wait_for_tasks(aws: Aws, platform: str, cancellation: Cancellation) -> None:
    """Tasks hold the cluster, and on Fargate the network."""
    cluster = names.cluster(platform)
    for _ in stacks.looks(f"tasks still run in the cluster {cluster}", cancellation, _PATIENCE):
        with asking(f"can't look at the cluster {cluster}"):
            found = aws.ecs.describe_clusters(clusters=[cluster])["clusters"]
        if not any(item.get("runningTasksCount", 0) + item.get("pendingTasksCount", 0) for item in found):
            return


def _proof_of_domain(aws: Aws, zone: str, certificate: str) -> list[str]:
    """Removes the record that proved the domain for the base's certificate, which CloudFormation leaves behind.

    Certificates of one domain share their record, so it stays where there is another one.
    https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html
    """
    if not zone or not certificate:
        return []
    with asking("can't look at the certificate"):
        found = aws.acm.describe_certificate(CertificateArn=certificate)["Certificate"]
        pages = aws.acm.get_paginator("list_certificates").paginate()
        others = [item for page in pages for item in page.get("CertificateSummaryList", [])]
    domain = found.get("DomainName", "").removeprefix("*.")
    for other in others:
        covered = (other.get("DomainName", ""), *other.get("SubjectAlternativeNameSummaries", []))
        if other.get("CertificateArn") != certificate and domain in (name.removeprefix("*.") for name in covered):
            return []
    records = (option.get("ResourceRecord") for option in found.get("DomainValidationOptions", []))
    return [f"DNS record {record['Name']}" for record in records if record and _delete_record(aws, zone, record)]


def _delete_record(aws: Aws, zone: str, record: ResourceRecordTypeDef) -> bool:
    """Deletes the record as it is in the zone; returns whether it was there."""
    with asking(f"can't look for the DNS record {record['Name']}"):
        there = aws.route53.list_resource_record_sets(
            HostedZoneId=zone, StartRecordName=record["Name"], StartRecordType=record["Type"], MaxItems="1"
        )["ResourceRecordSets"]
    found = [item for item in there if (item["Name"], item["Type"]) == (record["Name"], record["Type"])]
    for item in found:
        with asking(f"can't delete the DNS record {record['Name']}"):
            aws.route53.change_resource_record_sets(
                HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": item}]}
            )
    return bool(found)


def _target_groups(aws: Aws, platform: str) -> list[str]:
    """With the DNS records that their tags tell of."""
    with asking("can't list the target groups"):
        pages = aws.elb.get_paginator("describe_target_groups").paginate()
        groups = [group for page in pages for group in page["TargetGroups"]]
    ours = [group.get("TargetGroupArn", "") for group in groups if group.get("TargetGroupName", "").startswith("bl-")]
    removed: list[str] = []
    for arn, values in routing.tag_values(aws, ours).items():
        if values.get(labels.PLATFORM) != platform:
            continue
        host, record = values.get(labels.HOST, ""), values.get(labels.RECORD, "")
        if host and record and routing.delete_record(aws, host, record):
            removed.append(f"DNS record {host}")
        routing.delete_target_group(aws, arn)
        removed.append(f"target group {arn.split('/')[-2]}")
    return removed


def _repositories(aws: Aws, platform: str) -> list[str]:
    with asking("can't list the image repositories"):
        pages = aws.ecr.get_paginator("describe_repositories").paginate()
        repositories = [item for page in pages for item in page["repositories"]]
    removed: list[str] = []
    for repository in repositories:
        name, arn = repository.get("repositoryName", ""), repository.get("repositoryArn", "")
        if not name.startswith(naming.image_repository(platform, "")):
            continue
        with asking(f"can't delete the image repository {name}"):
            listed_tags = aws.ecr.list_tags_for_resource(resourceArn=arn).get("tags", [])
            if tags.read([dict(tag) for tag in listed_tags]).get(labels.PLATFORM) == platform:
                aws.ecr.delete_repository(repositoryName=name, force=True)
                removed.append(f"image repository {name}")
    return removed


def _log_groups(aws: Aws, platform: str) -> list[str]:
    with asking("can't list the log groups"):
        pages = aws.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=names.log_groups(platform))
        groups = [group for page in pages for group in page["logGroups"]]
    removed: list[str] = []
    for group in groups:
        name, arn = group.get("logGroupName", ""), group.get("arn", "").removesuffix(":*")
        with asking(f"can't delete the log group {name}"):
            if aws.logs.list_tags_for_resource(resourceArn=arn)["tags"].get(labels.PLATFORM) == platform:
                aws.logs.delete_log_group(logGroupName=name)
                removed.append(f"log group {name}")
    return removed


def _task_definitions(aws: Aws, platform: str) -> list[str]:
    """Those that were deregistered, too."""
    statuses: tuple[Literal["ACTIVE", "INACTIVE"], ...] = ("ACTIVE", "INACTIVE")
    found: dict[str, str] = {}
    for status in statuses:
        with asking("can't list the task definitions"):
            families = aws.ecs.get_paginator("list_task_definition_families").paginate(
                familyPrefix=names.families(platform), status=status
            )
            for family in (family for page in families for family in page["families"]):
                for each in statuses:
                    pages = aws.ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, status=each)
                    found |= {arn: each for page in pages for arn in page["taskDefinitionArns"]}
    going = [arn for arn in found if _is_of(aws, arn, platform)]
    for arn in going:
        if found[arn] == "ACTIVE":
            with asking(f"can't deregister the task definition {arn}"):
                aws.ecs.deregister_task_definition(taskDefinition=arn)
    for start in range(0, len(going), _DELETED_AT_ONCE):
        with asking("can't delete the task definitions"):
            aws.ecs.delete_task_definitions(taskDefinitions=going[start : start + _DELETED_AT_ONCE])
    return [f"task definition {arn.rpartition('/')[2]}" for arn in going]


def _is_of(aws: Aws, task_definition: str, platform: str) -> bool:
    with asking(f"can't read the tags of the task definition {task_definition}"):
        described = aws.ecs.describe_task_definition(taskDefinition=task_definition, include=["TAGS"])
    return tags.read(described.get("tags", [])).get(labels.PLATFORM) == platform
