"""The base of a platform, made and taken down on MiniStack.

It knows no capacity providers, so the stack of the EC2 instances is not deployed here (see test_ecs_templates.py), and
it makes a stack at once, so nobody can be interrupted while AWS is at work: a stack that was never executed stands for
that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, stacks
from branchline.engines.ecs.aws import Aws, AwsError
from branchline.engines.ecs.base import read_base, read_shard
from branchline.engines.ecs.base_plan import Wanted, make_plan
from branchline.engines.ecs.bootstrap import Made, bootstrap, preview, unprotect
from branchline.engines.ecs.stacks import Progress
from branchline.engines.ecs.teardown import teardown
from branchline.errors import BranchlineError, ConfigurationError

NAME = "shop"
BASE = names.base_stack(NAME)


def nobody(_: Progress) -> None:
    pass


def wanted(**options: Any) -> Wanted:
    """Without the webhook, which is a stack of its own; see test_webhook_on_ecs.py."""
    options.setdefault("webhook", False)
    return Wanted(**options)


def make(aws: Aws, platform: str = NAME, **options: Any) -> Made:
    return bootstrap(aws, make_plan(aws, platform, wanted(**options)), nobody, Cancellation())


def take_down(aws: Aws, remove_environments: Callable[[], list[str]] | None = None) -> list[str]:
    return teardown(aws, NAME, nobody, Cancellation(), remove_environments)


def everything(aws: Aws) -> set[str]:
    """All that the account has, by each service's own list call."""
    zones = [zone["Id"] for zone in aws.route53.list_hosted_zones()["HostedZones"]]
    found: list[Any] = [
        [stack["StackName"] for stack in aws.cloudformation.describe_stacks()["Stacks"]],
        [each.get("VpcId") for each in aws.ec2.describe_vpcs()["Vpcs"]],
        [each.get("SubnetId") for each in aws.ec2.describe_subnets()["Subnets"]],
        [each.get("GroupId") for each in aws.ec2.describe_security_groups()["SecurityGroups"]],
        [each.get("InternetGatewayId") for each in aws.ec2.describe_internet_gateways()["InternetGateways"]],
        [each.get("RouteTableId") for each in aws.ec2.describe_route_tables()["RouteTables"]],
        [each.get("LoadBalancerArn") for each in aws.elb.describe_load_balancers()["LoadBalancers"]],
        [each.get("TargetGroupArn") for each in aws.elb.describe_target_groups()["TargetGroups"]],
        aws.ecs.list_clusters()["clusterArns"],
        [arn for s in ("ACTIVE", "INACTIVE") for arn in aws.ecs.list_task_definitions(status=s)["taskDefinitionArns"]],
        aws.dynamodb.list_tables()["TableNames"],
        [each["RoleName"] for each in aws.iam.list_roles()["Roles"] if "/aws-service-role/" not in each["Path"]],
        [each.get("CertificateArn") for each in aws.acm.list_certificates()["CertificateSummaryList"]],
        [each.get("logGroupName") for each in aws.logs.describe_log_groups()["logGroups"]],
        [each.get("repositoryName") for each in aws.ecr.describe_repositories()["repositories"]],
        zones,
        [
            f"{record['Name']} {record['Type']}"
            for zone in zones
            for record in aws.route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        ],
    ]
    return {str(item) for items in found for item in items}


def hosted_zone(aws: Aws, name: str, *, private: bool = False) -> str:
    made = aws.route53.create_hosted_zone(
        Name=name, CallerReference=f"{name}{private}", HostedZoneConfig={"PrivateZone": private}
    )
    return made["HostedZone"]["Id"].rpartition("/")[2]


def service(aws: Aws, name: str = "main--web", platform: str = NAME) -> None:
    """A service as a deploy makes it, which nothing runs in."""
    tags: Any = [{"key": "branchline:platform", "value": platform}]
    family = f"branchline--{platform}--web--main"
    aws.ecs.register_task_definition(
        family=family, containerDefinitions=[{"name": "app", "image": "none"}], memory="64", tags=tags
    )
    aws.ecs.create_service(
        cluster=names.cluster(NAME), serviceName=name, taskDefinition=family, desiredCount=0, tags=tags
    )


def prove(aws: Aws, zone: str) -> str:
    """Makes the record that proves the domain for the certificate, as AWS's CloudFormation does; returns its name."""
    (listed,) = aws.acm.list_certificates()["CertificateSummaryList"]
    certificate: Any = aws.acm.describe_certificate(CertificateArn=listed.get("CertificateArn", ""))["Certificate"]
    record = certificate["DomainValidationOptions"][0]["ResourceRecord"]
    values = {"Name": record["Name"], "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": record["Value"]}]}
    changes: Any = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": values}]}
    aws.route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=changes)
    return record["Name"]


def public_subnets(aws: Aws) -> tuple[str, tuple[str, ...]]:
    """A VPC that somebody else made, with two public subnets and a private one."""
    vpc = aws.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    gateway: Any = aws.ec2.create_internet_gateway()["InternetGateway"]
    aws.ec2.attach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc)
    table: Any = aws.ec2.create_route_table(VpcId=vpc)["RouteTable"]
    aws.ec2.create_route(
        RouteTableId=table["RouteTableId"],
        DestinationCidrBlock="0.0.0.0/0",
        GatewayId=gateway["InternetGatewayId"],
    )
    subnets: list[str] = []
    for number, zone in enumerate("abb"):
        subnet: Any = aws.ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"{aws.region}{zone}"
        )["Subnet"]
        subnets.append(subnet["SubnetId"])
        if number < 2:
            aws.ec2.associate_route_table(RouteTableId=table["RouteTableId"], SubnetId=subnet["SubnetId"])
    return vpc, tuple(subnets)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in the account that the test is in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BRANCHLINE_")}
    return subprocess.run(
        [sys.executable, "-m", "branchline", "aws", *arguments],
        env=environment | {"BRANCHLINE_PLATFORM": NAME, "NO_COLOR": "1", "COLUMNS": "1000"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Making it


def test_a_base_is_made_and_read(aws_account: Aws) -> None:
    made = make(aws_account)

    base = read_base(aws_account, NAME)
    assert made.base == base
    assert made.outcomes == {BASE: "created"}
    assert (base.domain, base.scheme, base.dns) == ("shop.branchline.internal", "http", "none")
    assert (base.capacity, base.log_retention, base.shards) == ("fargate-spot", 14, 1)
    assert len(base.subnets) == 2
    assert "Host header" in made.notes[0]
    (cluster,) = aws_account.ecs.describe_clusters(clusters=[names.cluster(NAME)])["clusters"]
    assert cluster.get("capacityProviders") == ["FARGATE", "FARGATE_SPOT"]


def test_a_second_time_nothing_changes_and_five_calls_tell(aws_account: Aws) -> None:
    make(aws_account, log_retention=30)
    before, count = everything(aws_account), aws_account.calls.copy()

    assert make(aws_account).outcomes == {BASE: "unchanged"}
    assert sum((aws_account.calls - count).values()) <= 12
    assert everything(aws_account) == before
    assert read_base(aws_account, NAME).log_retention == 30, "what isn't said stays as it is"


def test_a_changed_setting_changes_what_there_is(aws_account: Aws) -> None:
    before = make(aws_account).base

    made = make(aws_account, log_retention=90, capacity="fargate")

    assert made.outcomes == {BASE: "updated"}
    assert (made.base.log_retention, made.base.capacity) == (90, "fargate")
    assert (made.base.vpc, made.base.load_balancer) == (before.vpc, before.load_balancer)


def test_progress_is_told_resource_by_resource(aws_account: Aws) -> None:
    told: list[Progress] = []

    bootstrap(aws_account, make_plan(aws_account, NAME, wanted()), told.append, Cancellation())

    done = {progress.resource for progress in told if progress.status == "CREATE_COMPLETE"}
    assert {"Cluster", "LoadBalancer", "HttpListener", "LeaseTable", "ExecutionRole", "TaskRole", BASE} <= done
    assert told[-1].resource == BASE


def test_a_dry_run_tells_the_changes_and_makes_none(aws_account: Aws) -> None:
    before = everything(aws_account)

    changes = preview(aws_account, make_plan(aws_account, NAME, wanted(shards=2)), Cancellation())

    assert {"Cluster", "LoadBalancer", "Vpc"} <= {change.resource for change in changes[BASE]}
    assert {change.action for change in changes[BASE]} == {"Add"}
    assert [change.action for change in changes[names.shard_stack(NAME, 2)]] == ["Add"]
    assert everything(aws_account) == before
    make(aws_account)
    there = everything(aws_account)

    changes = preview(aws_account, make_plan(aws_account, NAME, wanted(log_retention=90)), Cancellation())

    assert [(change.action, change.resource) for change in changes[BASE]] == [("Modify", "Cluster")]
    assert everything(aws_account) == there
    left = aws_account.cloudformation.list_change_sets(StackName=BASE)["Summaries"]
    assert [each for each in left if each.get("ExecutionStatus") == "AVAILABLE"] == []
    assert preview(aws_account, make_plan(aws_account, NAME, wanted()), Cancellation()) == {BASE: []}


def test_what_an_interrupted_run_left_is_gone_on_with(aws_account: Aws) -> None:
    plan = make_plan(aws_account, NAME, wanted())
    stack = plan.base(1)
    aws_account.cloudformation.create_change_set(
        StackName=stack.name,
        ChangeSetName="left",
        ChangeSetType="CREATE",
        TemplateBody="Resources: {Topic: {Type: 'AWS::SNS::Topic'}}",
        Tags=[{"Key": "branchline:platform", "Value": NAME}],
    )

    assert make(aws_account).outcomes == {BASE: "created"}
    assert read_base(aws_account, NAME).shards == 1


def test_an_interrupted_run_is_gone_on_with_by_the_next(aws_account: Aws) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bootstrap(aws_account, make_plan(aws_account, NAME, wanted(shards=2)), interrupt, Cancellation())
    with pytest.raises(ConfigurationError, match="the load balancer 2 of 'shop' is missing"):
        read_shard(aws_account, read_base(aws_account, NAME), 2)

    assert make(aws_account).outcomes == {BASE: "unchanged", names.shard_stack(NAME, 2): "created"}
    assert read_shard(aws_account, read_base(aws_account, NAME), 2).name == names.load_balancer(NAME, 2)


def test_a_failed_creation_says_why_and_is_made_anew(aws_account: Aws) -> None:
    plan = make_plan(aws_account, NAME, wanted())
    broken = plan.base(1)
    parameters = {**broken.parameters, "HostedZoneId": "Z0", "Dns": "wildcard", "CertificateArn": "arn:none"}
    broken = stacks.Stack(broken.name, NAME, broken.template, parameters)

    with pytest.raises(AwsError, match=r"branchline-shop failed: WildcardRecord \(AWS::Route53::RecordSet\): .+"):
        stacks.deploy(aws_account, broken, nobody, Cancellation())

    (left,) = aws_account.cloudformation.describe_stacks(StackName=BASE)["Stacks"]
    assert left["StackStatus"] == "ROLLBACK_COMPLETE"
    assert [change.action for change in preview(aws_account, plan, Cancellation())[BASE]] == ["Remove", "Add"]
    assert make(aws_account).outcomes == {BASE: "created"}
    assert read_base(aws_account, NAME).dns == "none"


def test_instances_lose_their_protection_before_their_stack_goes(moto_aws: Aws) -> None:
    """CloudFormation would wait for instances that may not be ended. The emulator keeps no protection, moto does."""
    auto = moto_aws.autoscaling
    auto.create_launch_configuration(LaunchConfigurationName="left", ImageId="ami-1", InstanceType="m5.large")
    auto.create_auto_scaling_group(
        AutoScalingGroupName="group",
        LaunchConfigurationName="left",
        MinSize=2,
        MaxSize=2,
        AvailabilityZones=[f"{moto_aws.region}a"],
        NewInstancesProtectedFromScaleIn=True,
    )

    unprotect(moto_aws, "group")
    unprotect(moto_aws, "missing")

    (found,) = auto.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert not found["NewInstancesProtectedFromScaleIn"]
    assert [instance["ProtectedFromScaleIn"] for instance in found["Instances"]] == [False, False]


# Hosts


def test_a_domain_in_a_hosted_zone_gets_https_and_a_wildcard_record(aws_account: Aws) -> None:
    hosted_zone(aws_account, "example.com")
    hosted_zone(aws_account, "preview.example.com", private=True)
    zone = hosted_zone(aws_account, "preview.example.com")

    base = make(aws_account, domain="shop.preview.example.com").base

    assert (base.domain, base.scheme, base.dns) == ("shop.preview.example.com", "https", "wildcard")
    assert base.hosted_zone == zone, "the longest suffix's, and public"
    records = aws_account.route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    (wildcard,) = [record for record in records if "shop" in record["Name"] and record["Type"] == "A"]
    assert wildcard.get("AliasTarget", {}).get("DNSName", "").startswith(base.load_balancer.dns)
    found = aws_account.elb.describe_listeners(LoadBalancerArn=base.load_balancer.arn)["Listeners"]
    by_port: Any = {listener.get("Port"): listener for listener in found}
    assert by_port[443]["ListenerArn"] == base.load_balancer.listener
    assert by_port[80]["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"


def test_hosts_may_have_records_of_their_own(aws_account: Aws) -> None:
    zone = hosted_zone(aws_account, "example.com")

    base = make(aws_account, domain="preview.example.com", dns="record").base

    assert (base.dns, base.hosted_zone) == ("record", zone)
    records = aws_account.route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [record for record in records if record["Name"].startswith(("\\052", "*"))] == []


def test_a_domain_that_is_served_elsewhere_is_plain_http_and_says_which_record_to_make(aws_account: Aws) -> None:
    made = make(aws_account, domain="preview.example.org")

    assert (made.base.scheme, made.base.dns, made.base.hosted_zone) == ("http", "none", "")
    assert f"*.preview.example.org is an alias of, or a CNAME for, {made.base.load_balancer.dns}" in made.notes[0]


def test_a_base_gets_its_domain_and_certificate_later(aws_account: Aws) -> None:
    before = make(aws_account).base
    hosted_zone(aws_account, "example.com")

    after = make(aws_account, domain="preview.example.com").base

    assert (before.scheme, after.scheme) == ("http", "https")
    assert after.vpc == before.vpc


# Load balancers


def test_load_balancers_come_and_go(aws_account: Aws) -> None:
    made = make(aws_account, shards=2)

    second = read_shard(aws_account, made.base, 2)
    assert made.base.shards == 2
    assert second.name == names.load_balancer(NAME, 2)
    assert second.listener != made.base.load_balancer.listener
    assert make(aws_account, shards=3).base.load_balancer == made.base.load_balancer

    fewer = make(aws_account, shards=1)

    assert fewer.outcomes[names.shard_stack(NAME, 3)] == fewer.outcomes[names.shard_stack(NAME, 2)] == "deleted"
    found = aws_account.elb.describe_load_balancers()["LoadBalancers"]
    assert [each.get("LoadBalancerName") for each in found] == [names.load_balancer(NAME, 1)]


def test_a_load_balancer_with_environments_stays(aws_account: Aws) -> None:
    base = make(aws_account, shards=2).base
    aws_account.elb.create_rule(
        ListenerArn=read_shard(aws_account, base, 2).listener,
        Priority=7,
        Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": ["main--web.example.com"]}}],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
    )

    with pytest.raises(ConfigurationError, match="load balancer 2 still has environments"):
        make(aws_account, shards=1)

    assert read_base(aws_account, NAME).shards == 2


def test_two_platforms_of_an_account_do_not_meet(aws_account: Aws) -> None:
    one, other = make(aws_account).base, make(aws_account, "other").base
    before = everything(aws_account)
    make(aws_account)

    assert take_down(aws_account) == [f"stack {BASE}"]

    assert one.vpc != other.vpc
    assert read_base(aws_account, "other") == other
    assert everything(aws_account) < before


# An existing network


def test_a_base_stands_in_an_existing_vpc_and_leaves_it(aws_account: Aws) -> None:
    vpc, (a, b, _) = public_subnets(aws_account)
    before = everything(aws_account)

    base = make(aws_account, vpc=vpc, subnets=(a, b)).base

    assert (base.vpc, base.subnets) == (vpc, (a, b))
    assert make(aws_account).outcomes == {BASE: "unchanged"}
    take_down(aws_account)
    assert everything(aws_account) == before


def test_the_network_is_looked_at_first(aws_account: Aws) -> None:
    vpc, (a, b, private) = public_subnets(aws_account)
    other, (elsewhere, _, _) = public_subnets(aws_account)
    before = everything(aws_account)

    refused_options: list[tuple[dict[str, Any], str]] = [
        ({"subnets": (a, b)}, "subnets are given without their VPC"),
        ({"vpc": vpc}, "needs subnets in at least two zones"),
        ({"vpc": vpc, "subnets": (a, "subnet-0123456789abcdef0")}, "subnet-0123456789abcdef0"),
        ({"vpc": vpc, "subnets": (a, elsewhere)}, f"not in the VPC {vpc}: {elsewhere}"),
        ({"vpc": vpc, "subnets": (b, private)}, "the subnets are all in the zone us-east-1b"),
        ({"vpc": vpc, "subnets": (a, private)}, f"no route to an internet gateway: {private}"),
    ]
    for options, message in refused_options:
        with pytest.raises(ConfigurationError, match=message) as refused:
            make(aws_account, **options)
        assert refused.value.remedy
    assert everything(aws_account) == before
    make(aws_account)
    with pytest.raises(ConfigurationError, match=f"can't move to {other}"):
        make(aws_account, vpc=other, subnets=(elsewhere, a))


# What is refused


@pytest.mark.parametrize(
    ("platform", "options", "message"),
    [
        ("Shop_1", {}, "'Shop_1' can't be the platform's name"),
        (NAME, {"dns": "record"}, "no public hosted zone of this account has the domain shop.branchline.internal"),
        (NAME, {"domain": "preview.example.org", "dns": "wildcard"}, "no public hosted zone"),
        (NAME, {"instances": (1, 5)}, "numbers of instances are given, but tasks run on fargate-spot"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_made(
    aws_account: Aws, platform: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        make(aws_account, platform, **options)

    assert refused.value.remedy
    assert aws_account.cloudformation.describe_stacks()["Stacks"] == []


def test_no_certificate_is_asked_for_that_can_not_be(aws_account: Aws) -> None:
    hosted_zone(aws_account, "example.com")

    with pytest.raises(ConfigurationError, match="the domain may have 62 characters"):
        make(aws_account, domain=f"{'x' * 60}.example.com")


def test_two_hosted_zones_of_one_name_are_not_guessed_between(aws_account: Aws) -> None:
    for reference in "ab":
        aws_account.route53.create_hosted_zone(Name="example.com", CallerReference=reference)

    with pytest.raises(ConfigurationError, match=r"2 public hosted zones named example\.com"):
        make(aws_account, domain="preview.example.com")


def test_a_stack_of_somebody_else_is_left_alone(aws_account: Aws) -> None:
    text = "Resources: {Topic: {Type: 'AWS::SNS::Topic'}}"
    aws_account.cloudformation.create_stack(StackName=BASE, TemplateBody=text)

    for act in (make, take_down):
        with pytest.raises(ConfigurationError, match=f"the stack {BASE} exists and doesn't carry the tag"):
            act(aws_account)

    assert aws_account.cloudformation.get_template(StackName=BASE)["TemplateBody"] == text


def test_a_base_by_other_tools_is_left_to_them(aws_account: Aws) -> None:
    """deploy/terraform/ ends with such a stack."""
    aws_account.cloudformation.create_stack(
        StackName=BASE,
        TemplateBody="Resources: {A: {Type: 'AWS::SNS::Topic'}}\nOutputs: {Vpc: {Value: vpc-1}}",
        Tags=[{"Key": "branchline:platform", "Value": NAME}],
    )

    for act in (make, take_down):
        with pytest.raises(ConfigurationError, match="was made by other means, such as Terraform"):
            act(aws_account)


def test_what_environments_stand_on_stays_while_they_live(aws_account: Aws) -> None:
    hosted_zone(aws_account, "example.com")
    make(aws_account)
    service(aws_account)

    for options, what in (
        ({"domain": "preview.example.com"}, "the domain and how hosts get their DNS records and HTTP or HTTPS"),
        ({"capacity": "ec2"}, "Fargate or EC2 instances"),
    ):
        with pytest.raises(
            ConfigurationError, match=rf"environments stand on what would change, {what} \(1\): main--web"
        ):
            make(aws_account, **options)

    assert make(aws_account, capacity="fargate", log_retention=30).outcomes == {BASE: "updated"}


# Taking it down


def test_teardown_leaves_nothing_and_runs_again(aws_account: Aws) -> None:
    zone = hosted_zone(aws_account, "example.com")
    before = everything(aws_account)
    make(aws_account, domain="preview.example.com", shards=2)
    proof = prove(aws_account, zone)

    removed = take_down(aws_account)

    assert removed == [f"stack {BASE}-lb-2", f"DNS record {proof}", f"stack {BASE}"]
    assert everything(aws_account) == before
    assert take_down(aws_account) == []


def test_a_proof_of_the_domain_that_another_certificate_needs_stays(aws_account: Aws) -> None:
    zone = hosted_zone(aws_account, "example.com")
    make(aws_account, domain="preview.example.com")
    prove(aws_account, zone)
    aws_account.acm.request_certificate(DomainName="preview.example.com", ValidationMethod="DNS")

    assert take_down(aws_account) == [f"stack {BASE}"]


def test_teardown_refuses_while_environments_live(aws_account: Aws) -> None:
    make(aws_account)
    service(aws_account)
    before = everything(aws_account)

    with pytest.raises(
        ConfigurationError, match=r"environments of the platform 'shop' live \(1\): main--web"
    ) as refused:
        take_down(aws_account)

    assert "--with-environments" in refused.value.remedy
    assert everything(aws_account) == before


def test_teardown_removes_environments_first_when_told_to(aws_account: Aws) -> None:
    before = everything(aws_account)
    make(aws_account)
    service(aws_account)

    def destroy() -> list[str]:
        aws_account.ecs.delete_service(cluster=names.cluster(NAME), service="main--web", force=True)
        return ["service main--web"]

    removed = take_down(aws_account, destroy)

    assert removed[:2] == ["service main--web", f"stack {BASE}"]
    assert everything(aws_account) == before


def test_teardown_removes_what_killed_deploys_left_if_it_is_the_platforms(aws_account: Aws) -> None:
    make(aws_account)
    before = everything(aws_account)
    for owner, suffix in ((NAME, "ours"), ("other", "theirs")):
        tags = {"branchline:platform": owner}
        aws_account.logs.create_log_group(logGroupName=f"/branchline/{NAME}/web/{suffix}", tags=tags)
        aws_account.ecr.create_repository(
            repositoryName=f"branchline.{NAME}/{suffix}", tags=[{"Key": "branchline:platform", "Value": owner}]
        )
        aws_account.ecs.register_task_definition(
            family=f"branchline--{NAME}--web--{suffix}",
            containerDefinitions=[{"name": "app", "image": "none", "memory": 64}],
            tags=[{"key": "branchline:platform", "value": owner}],
        )
        aws_account.elb.create_target_group(
            Name=f"bl-{suffix}", Protocol="HTTP", Port=80, Tags=[{"Key": "branchline:platform", "Value": owner}]
        )

    removed = take_down(aws_account)

    assert removed == [
        f"stack {BASE}",
        "target group bl-ours",
        f"image repository branchline.{NAME}/ours",
        f"log group /branchline/{NAME}/web/ours",
        f"task definition branchline--{NAME}--web--ours:1",
    ]
    left = everything(aws_account) - before
    assert len(left) == 4
    assert all("theirs" in item for item in left)


def test_teardown_goes_on_after_the_base_is_gone(aws_account: Aws) -> None:
    make(aws_account)
    aws_account.logs.create_log_group(logGroupName=f"/branchline/{NAME}/a/b", tags={"branchline:platform": NAME})
    stacks.delete(aws_account, BASE, NAME, nobody, Cancellation())

    assert take_down(aws_account) == [f"log group /branchline/{NAME}/a/b"]


# The commands


def test_the_commands_make_show_and_remove_a_base(aws_account: Aws) -> None:
    dry = command("bootstrap", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert f"{BASE}: " in dry.stdout
    assert "add     Cluster  (AWS::ECS::Cluster)" in dry.stdout

    made = command("bootstrap", "--secrets", "/shop/*,arn:aws:kms:us-east-1:1:key/2")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"{BASE}: created\n")
    assert made.stdout.endswith('engine = "ecs"\nplatform = "shop"\n\n[ecs]\nregion = "us-east-1"\n')
    assert "LoadBalancer made in " in made.stderr
    role = read_base(aws_account, NAME).execution_role.rpartition("/")[2]
    policy = str(aws_account.iam.get_role_policy(RoleName=role, PolicyName="start")["PolicyDocument"])
    assert ":parameter/shop/*" in policy
    assert ":secret:shop/*" in policy
    assert ":key/2" in policy
    assert "preview" not in policy

    removed = command("teardown", "--json")
    assert removed.returncode == 0, removed.stderr
    gone = [f"stack {names.webhook_stack(NAME)}", f"stack {BASE}"]
    assert json.loads(removed.stdout) == {"platform": NAME, "region": "us-east-1", "removed": gone}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--log-retention", "10"), "CloudWatch Logs keeps for 1, 3, 5"),
        (("--domain", "Preview.Example"), "expected a DNS name in lower case"),
        (("--capacity", "ec3"), "'ec3' is not one of 'fargate-spot'"),
        (("--instances", "5-1"), "expected the least and then the most, such as 1-20"),
        (("--shards", "0"), "not in the range 1<=x<=50"),
        (("--name", "a--b"), "can't be the platform's name"),
    ],
)
def test_wrong_options_are_refused(arguments: tuple[str, ...], message: str) -> None:
    from click.exceptions import UsageError

    from branchline.cli.aws import bootstrap_command

    with pytest.raises((UsageError, BranchlineError)) as refused:
        bootstrap_command.main(list(arguments), standalone_mode=False)

    assert message in str(refused.value)
