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
    ("Lambda functions", "lambda", "list_functions", "Functions[].FunctionName"),
    ("HTTP APIs", "apigatewayv2", "get_apis", "Items[].ApiId"),
    ("schedules", "scheduler", "list_schedules", "Schedules[].Name"),
    ("secrets", "secretsmanager", "list_secrets", "SecretList[].ARN"),
    ("queues", "sqs", "list_queues", "QueueUrls[]"),
    ("alarms", "cloudwatch", "describe_alarms", "MetricAlarms[].AlarmName"),
)

"""Each kind, and the call whose pages list it, with a JMESPath expression for what identifies one."""
_NESTED = (
    ("listeners", "load balancers", "LoadBalancerArn", "elbv2", "describe_listeners", "Listeners[].ListenerArn"),
    ("listener rules", "listeners", "ListenerArn", "elbv2", "describe_rules", "Rules[?!IsDefault].RuleArn"),
    ("ECS services", "ECS clusters", "cluster", "ecs", "list_services", "serviceArns"),
    ("ECS tasks", "ECS clusters", "cluster", "ecs", "list_tasks", "taskArns"),
    ("container images", "ECR repositories", "repositoryName", "ecr", "list_images", "imageIds[].imageDigest"),
)
"""What is listed for each of another kind, which the parameter names."""


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
        for kind, parents, parameter, service, operation, items in _NESTED:
            found[kind] = set()
            for parent in found[parents]:
                found[kind] |= set(self._list(service, operation, items, **{parameter: parent}))
        found["task definitions"] = {
            definition
            for status in ("ACTIVE", "INACTIVE")
            for definition in self._list("ecs", "list_task_definitions", "taskDefinitionArns", status=status)
        }
        return found

    def _list(self, service: str, operation: str, items: str, **parameters: str) -> Iterator[str]:
        yield from self.client(service).get_paginator(operation).paginate(**parameters).search(items)
