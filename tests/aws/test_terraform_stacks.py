"""What Terraform tells Branchline: stacks of nothing but outputs, as deploy/terraform/stacks.tf makes them.

Terraform itself isn't run, so the templates are put together here, in the shape that the module gives them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from branchline.engines.ecs import names
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import read_base, read_shard
from tests.docs.pages import ROOT

STACKS = (ROOT / "deploy" / "terraform" / "stacks.tf").read_text()
BASE = {
    "Vpc": "vpc-1",
    "Subnets": "subnet-1,subnet-2",
    "LoadBalancerSecurityGroup": "sg-1",
    "TaskSecurityGroup": "sg-2",
    "Capacity": "ec2-spot",
    "Cluster": "branchline-x",
    "LeaseTable": "branchline-x",
    "ExecutionRole": "arn:aws:iam::123456789012:role/execution",
    "TaskRole": "arn:aws:iam::123456789012:role/task",
    "Domain": "preview.example.com",
    "Scheme": "https",
    "Certificate": "arn:aws:acm:us-east-1:123456789012:certificate/1",
    "Dns": "wildcard",
    "HostedZone": "",
    "LogRetention": "14",
    "Shards": "2",
}


def load_balancer(number: int) -> dict[str, str]:
    return {
        "LoadBalancer": f"arn:load-balancer-{number}",
        "LoadBalancerDns": f"{number}.elb.example.com",
        "LoadBalancerZone": "Z1",
        "Listener": f"arn:listener-{number}",
    }


def template(facts: dict[str, str]) -> str:
    """As `template_body` in stacks.tf."""
    for part in ("AWS::CloudFormation::WaitConditionHandle", '"Facts${substr(sha256(', 'if value != ""'):
        assert part in STACKS
    name = f"Facts{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
    document: dict[str, Any] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {name: {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
        "Outputs": {key: {"Value": value} for key, value in facts.items() if value},
    }
    return json.dumps(document)


def test_branchline_reads_its_base_from_terraforms_stacks(aws_account: Aws, ecs_platform: str) -> None:
    stacks = aws_account.cloudformation
    waiter = stacks.get_waiter("stack_create_complete")
    for number, facts in ((1, BASE | load_balancer(1)), (2, load_balancer(2))):
        name = names.base_stack(ecs_platform) if number == 1 else names.shard_stack(ecs_platform, number)
        stacks.create_stack(StackName=name, TemplateBody=template(facts))
        waiter.wait(StackName=name, WaiterConfig={"Delay": 1})
    base = read_base(aws_account, ecs_platform)
    assert base.subnets == ("subnet-1", "subnet-2")
    assert base.capacity_provider == names.capacity_stack(ecs_platform)
    assert (base.hosted_zone, base.log_retention, base.shards) == ("", 14, 2)
    assert base.load_balancer.listener == "arn:listener-1"
    second = read_shard(aws_account, base, 2)
    assert (second.name, second.arn) == (names.load_balancer(ecs_platform, 2), "arn:load-balancer-2")

    changed = BASE | load_balancer(1) | {"Shards": "3"}
    name = names.base_stack(ecs_platform)
    stacks.update_stack(StackName=name, TemplateBody=template(changed))
    stacks.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    assert read_base(aws_account, ecs_platform).shards == 3


@pytest.mark.parametrize("key", [*BASE, *load_balancer(1)])
def test_the_module_tells_all_that_is_read(key: str) -> None:
    assert f"{key} " in STACKS
