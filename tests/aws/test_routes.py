"""Listener rules and target groups, where many deploys at once and full load balancers meet: on MiniStack and on moto.

moto is the stricter one: it refuses a priority that is taken, and more rules than a listener takes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from branchline.engines.ecs import names, routing
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base, LoadBalancer
from branchline.environment import EnvironmentId
from branchline.ports import Push
from branchline.settings.application import Application


@pytest.fixture
def bare_base(moto_aws: Aws, ecs_platform: str) -> Base:
    """A base without its stack, of which moto's CloudFormation makes nothing that can be used."""
    aws = moto_aws
    vpc = aws.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        aws.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in ((1, "a"), (2, "b"))
    ]
    made = aws.elb.create_load_balancer(Name=names.load_balancer(ecs_platform, 1), Subnets=subnets)["LoadBalancers"][0]
    listener = aws.elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    )["Listeners"][0]["ListenerArn"]
    return Base(
        platform=ecs_platform,
        vpc=vpc,
        subnets=tuple(subnets),
        security_group="sg-0",
        capacity="fargate",
        capacity_provider="",
        execution_role="arn:aws:iam::123456789012:role/execution",
        task_role="arn:aws:iam::123456789012:role/task",
        domain="preview.test",
        scheme="http",
        dns="none",
        hosted_zone="",
        log_retention=14,
        shards=1,
        load_balancer=LoadBalancer(
            made["LoadBalancerName"], made["LoadBalancerArn"], made["DNSName"], made["CanonicalHostedZoneId"], listener
        ),
    )


def push(base: Base, branch: str) -> Push:
    return Push(EnvironmentId(base.platform, "shop", branch), "c" * 40, Application())


def make(aws: Aws, base: Base, branch: str, *, look: bool = False) -> routing.Route:
    return routing.make(aws, push(base, branch), base, f"{branch}--shop.preview.test", 8000, look=look)


def test_ninety_deploys_at_once_all_get_a_rule_of_their_own(moto_aws: Aws, bare_base: Base) -> None:
    with ThreadPoolExecutor(max_workers=90) as pool:
        routes = list(pool.map(lambda n: make(moto_aws, bare_base, f"b{n}"), range(90)))
    rules = [rule for rule in routing.rules(moto_aws, bare_base.load_balancer.listener) if not rule.get("IsDefault")]
    assert len({route.rule for route in routes}) == 90
    assert len({rule.get("Priority") for rule in rules}) == 90


def test_a_taken_priority_is_passed_over(moto_aws: Aws, bare_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PRIORITIES", 3)
    routes = [make(moto_aws, bare_base, branch) for branch in ("one", "two", "three")]
    priorities = {
        rule.get("Priority")
        for rule in routing.rules(moto_aws, bare_base.load_balancer.listener)
        if rule.get("RuleArn") in {route.rule for route in routes}
    }
    assert priorities == {"1", "2", "3"}


@pytest.fixture(params=["ministack", "moto"])
def either(request: pytest.FixtureRequest) -> tuple[Aws, Base]:
    """Each emulator with a base."""
    if request.param == "moto":
        return request.getfixturevalue("moto_aws"), request.getfixturevalue("bare_base")
    return request.getfixturevalue("aws"), request.getfixturevalue("base")


def test_making_a_route_again_finds_the_one_that_is_there(either: tuple[Aws, Base]) -> None:
    aws, base = either
    first = make(aws, base, "twice")
    again = make(aws, base, "twice", look=True)
    assert again == first
    found = routing.remains(aws, push(base, "twice").environment, base)
    assert (found.target_group, found.rules) == (first.target_group, (first.rule,))
    remove(aws, base, "twice")


def test_rules_of_a_killed_deploy_are_reduced_to_one(either: tuple[Aws, Base]) -> None:
    aws, base = either
    first = make(aws, base, "double")
    aws.elb.create_rule(
        ListenerArn=base.load_balancer.listener,
        Priority=49_999,
        Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": ["double--shop.preview.test"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": first.target_group}],
    )
    make(aws, base, "double", look=True)
    assert len(routing.remains(aws, push(base, "double").environment, base).rules) == 1
    remove(aws, base, "double")


def remove(aws: Aws, base: Base, branch: str) -> None:
    found = routing.remains(aws, push(base, branch).environment, base)
    for rule in found.rules:
        assert routing.delete_rule(aws, rule)
        routing.delete_rule(aws, rule)  # again is no error
    routing.delete_target_group(aws, found.target_group)
    assert routing.remains(aws, push(base, branch).environment, base) == routing.Remains()


def test_a_target_group_of_somebody_else_is_not_taken(
    either: tuple[Aws, Base], expect_refusal: Callable[[Callable[[], object]], str]
) -> None:
    aws, base = either
    name = names.target_group(push(base, "foreign").environment)
    foreign = aws.elb.create_target_group(Name=name, Protocol="HTTP", Port=1, VpcId=base.vpc, TargetType="ip")
    assert "is not Branchline's" in expect_refusal(lambda: make(aws, base, "foreign"))
    assert "is not Branchline's" in expect_refusal(lambda: make(aws, base, "foreign", look=True))
    aws.elb.delete_target_group(TargetGroupArn=foreign["TargetGroups"][0]["TargetGroupArn"])


@pytest.fixture
def expect_refusal() -> Callable[[Callable[[], object]], str]:
    """The message that something is refused with."""
    from branchline.errors import ConfigurationError

    def run(what: Callable[[], object]) -> str:
        with pytest.raises(ConfigurationError) as caught:
            what()
        return caught.value.message

    return run
