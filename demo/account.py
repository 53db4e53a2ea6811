"""What an AWS account has, by each service's own lists, so that nothing that is left over can hide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3

Contents = dict[str, set[str]]
"""The ids of all resources, by their kind."""

_LISTS = (
    ("CloudFormation stacks", "cloudformation", "describe_stacks", "Stacks[].StackName"),
    ("VPCs", "ec2", "describe_vpcs", "Vpcs[].VpcId"),
    ("subnets", "ec2", "describe_subnets", "Subnets[].SubnetId"),
    ("route tables", "ec2", "describe_route_tables", "RouteTables[].RouteTableId"),
    ("internet gateways", "ec2", "describe_internet_gateways", "InternetGateways[].InternetGatewayId"),
    ("security groups", "ec2", "describe_security_groups", "SecurityGroups[].GroupId"),
    # AWS keeps a role for ECS itself in every account that has ever used it.
    ("IAM roles", "iam", "list_roles", "Roles[?!starts_with(Path, '/aws-service-role/')].RoleName"),
    ("DynamoDB tables", "dynamodb", "list_tables", "TableNames"),
    ("load balancers", "elbv2", "describe_load_balancers", "LoadBalancers[].LoadBalancerArn"),
    ("target groups", "elbv2", "describe_target_groups", "TargetGroups[].TargetGroupArn"),
    ("ECS clusters", "ecs", "list_clusters", "clusterArns"),
    ("log groups", "logs", "describe_log_groups", "logGroups[].logGroupName"),
    ("ECR repositories", "ecr", "describe_repositories", "repositories[].repositoryName"),
)


@dataclass(frozen=True)
class Account:
    """One account, at the address where it is reached."""

    url: str
    region: str

    @cache  # noqa: B019 - there is one account, to the process's end
    def client(self, service: str) -> Any:
        session: Any = boto3.Session("test", "test", region_name=self.region)  # its stubs know services by literals
        return session.client(service, endpoint_url=self.url)

    def contents(self) -> Contents:
        found = {kind: set(self._list(service, operation, items)) for kind, service, operation, items in _LISTS}
        balancers, clusters, repositories = (
            found[kind] for kind in ("load balancers", "ECS clusters", "ECR repositories")
        )
        listeners = [
            listener
            for arn in balancers
            for listener in self._list("elbv2", "describe_listeners", "Listeners[].ListenerArn", LoadBalancerArn=arn)
        ]
        nested = {
            "listener rules": (
                rule
                for arn in listeners
                for rule in self._list("elbv2", "describe_rules", "Rules[?!IsDefault].RuleArn", ListenerArn=arn)
            ),
            "ECS services": (
                service
                for arn in clusters
                for service in self._list("ecs", "list_services", "serviceArns", cluster=arn)
            ),
            "ECS tasks": (
                task for arn in clusters for task in self._list("ecs", "list_tasks", "taskArns", cluster=arn)
            ),
            "task definitions": (
                definition
                for status in ("ACTIVE", "INACTIVE")
                for definition in self._list("ecs", "list_task_definitions", "taskDefinitionArns", status=status)
            ),
            "container images": (
                f"{name}:{image}"
                for name in repositories
                for image in self._list("ecr", "list_images", "imageIds[].imageDigest", repositoryName=name)
            ),
        }
        return found | {kind: set(items) for kind, items in nested.items()}

    def _list(self, service: str, operation: str, items: str, **parameters: str) -> Iterator[str]:
        """Every page of it; `items` is a JMESPath expression."""
        yield from self.client(service).get_paginator(operation).paginate(**parameters).search(items)
