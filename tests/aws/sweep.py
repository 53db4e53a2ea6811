"""What a platform has on AWS, asked of each service, to see that nothing is left."""

from __future__ import annotations

from branchline.engines.ecs import names, routing
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base, read_shard


def everything(aws: Aws, base: Base) -> list[str]:
    """All that environments of the platform have, by every service's own list call."""
    platform = base.platform
    services = aws.ecs.list_services(cluster=names.cluster(platform))["serviceArns"]
    tasks = aws.ecs.list_tasks(cluster=names.cluster(platform), desiredStatus="RUNNING")["taskArns"]
    definitions = [
        arn
        for status in ("ACTIVE", "INACTIVE")
        for page in aws.ecs.get_paginator("list_task_definitions").paginate(status=status)
        for arn in page["taskDefinitionArns"]
        if f"/{names.families(platform)}" in arn
    ]
    groups = [
        group["TargetGroupArn"]
        for page in aws.elb.get_paginator("describe_target_groups").paginate()
        for group in page["TargetGroups"]
    ]
    tagged = routing.tag_values(aws, groups)
    ours = [arn for arn, values in tagged.items() if values.get("branchline:platform") == platform]
    rules = [
        rule["RuleArn"]
        for shard in range(1, base.shards + 1)
        for rule in routing.rules(aws, read_shard(aws, base, shard).listener)
        if not rule.get("IsDefault")
    ]
    logs = [
        group["logGroupName"]
        for group in aws.logs.describe_log_groups(logGroupNamePrefix=names.log_groups(platform))["logGroups"]
    ]
    return [*services, *tasks, *definitions, *ours, *rules, *logs, *images(aws, platform), *leases(aws, platform)]


def images(aws: Aws, platform: str) -> list[str]:
    """The tags in the platform's repositories."""
    return [
        f"{repository['repositoryName']}:{image.get('imageTag')}"
        for repository in aws.ecr.describe_repositories()["repositories"]
        if repository["repositoryName"].startswith(f"branchline.{platform}/")
        for image in aws.ecr.list_images(repositoryName=repository["repositoryName"])["imageIds"]
    ]


def leases(aws: Aws, platform: str) -> list[str]:
    """The items of the lease table."""
    items = aws.dynamodb.scan(TableName=names.lease_table(platform))["Items"]
    return [f"lease {item['environment']}" for item in items]
