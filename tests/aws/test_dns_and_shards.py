"""DNS records where they are asked for, and environments spread over several load balancers."""

from __future__ import annotations

import pytest

from branchline.engines.ecs import names, routing
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base, read_shard
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError
from branchline.ports import Push
from branchline.settings.application import Application
from tests.aws.base import make_base


def push(base: Base, branch: str) -> Push:
    return Push(EnvironmentId(base.platform, "shop", branch), "c" * 40, Application())


def host(branch: str) -> str:
    return f"{branch}--shop.preview.test"


def make(aws: Aws, base: Base, branch: str) -> routing.Route:
    return routing.make(aws, push(base, branch), base, host(branch), 8000, look=False)


def aliases(aws: Aws, zone: str) -> dict[str, str]:
    """The zone's alias records, by name."""
    records = aws.route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return {
        record["Name"].rstrip("."): record["AliasTarget"]["DNSName"].rstrip(".")
        for record in records
        if "AliasTarget" in record
    }


@pytest.fixture
def zone(aws_account: Aws) -> str:
    """A hosted zone, as the operator has it."""
    made = aws_account.route53.create_hosted_zone(Name="preview.test", CallerReference="test")
    return made["HostedZone"]["Id"].rpartition("/")[2]


def test_a_record_for_each_branch_goes_with_it(aws_account: Aws, ecs_platform: str, zone: str) -> None:
    base = make_base(aws_account, ecs_platform, domain="preview.test", dns="record")
    route = make(aws_account, base, "one")
    assert aliases(aws_account, zone) == {host("one"): base.load_balancer.dns}
    make(aws_account, base, "one")
    assert routing.delete_record(aws_account, host("one"), route.record)
    assert aliases(aws_account, zone) == {}
    assert not routing.delete_record(aws_account, host("one"), route.record)


def test_a_record_that_somebody_changed_is_left_alone(aws_account: Aws, ecs_platform: str, zone: str) -> None:
    base = make_base(aws_account, ecs_platform, domain="preview.test", dns="record")
    route = make(aws_account, base, "one")
    of_others = f"{zone} {base.load_balancer.zone} other.example.com"
    routing._change_record(aws_account, "UPSERT", host("one"), of_others)
    assert not routing.delete_record(aws_account, host("one"), route.record)
    assert aliases(aws_account, zone) == {host("one"): "other.example.com"}


def test_environments_are_spread_and_those_off_the_wildcard_get_records(
    aws_account: Aws, ecs_platform: str, zone: str
) -> None:
    base = make_base(aws_account, ecs_platform, domain="preview.test", dns="wildcard", shards=2)
    routes = {branch: make(aws_account, base, branch) for branch in (f"b{number}" for number in range(8))}
    second = {branch for branch, route in routes.items() if route.load_balancer.name.endswith("-2")}
    assert 0 < len(second) < 8
    for branch, route in routes.items():
        assert routing.shard_of(route.rule, base) == names.shards(push(base, branch).environment, 2)[0]
    records = aliases(aws_account, zone)
    assert {name for name in records if not name.startswith(("*", "\\052"))} == {host(branch) for branch in second}


def test_a_full_load_balancer_is_passed_over_and_the_last_one_says_what_to_do(
    aws_account: Aws, ecs_platform: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither emulator counts target groups; the refusal is AWS's documented one."""
    base = make_base(aws_account, ecs_platform, domain="preview.test", dns="wildcard", shards=2)
    full = {names.shards(push(base, "one").environment, 2)[0]}

    def refuse(params: dict[str, str], **_: object) -> None:
        from botocore.exceptions import ClientError

        listeners = {number: read_shard(aws_account, base, number).listener for number in full}
        if params["ListenerArn"] in listeners.values():
            code = "TooManyUniqueTargetGroupsPerLoadBalancer"
            raise ClientError({"Error": {"Code": code, "Message": "You've reached the limit"}}, "CreateRule")

    aws_account.elb.meta.events.register("provide-client-params.elastic-load-balancing-v2.CreateRule", refuse)
    route = make(aws_account, base, "one")
    assert routing.shard_of(route.rule, base) not in full
    assert routing.remains(aws_account, push(base, "one").environment, base).record == route.record
    full |= {1, 2}
    with pytest.raises(ConfigurationError) as caught:
        make(aws_account, base, "two")
    assert "--shards 3" in caught.value.remedy
