"""What the doctor finds on AWS, and what it says where it may not look.

MiniStack has no Service Quotas, refuses nothing to anybody, simulates policies without their conditions, and has no
instances that join a cluster. A proxy answers in its place where a test needs it. The state of what takes time on AWS,
such as certificates, is judged in tests/unit/test_ecs_checks.py.
"""

from __future__ import annotations

import io
import json
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from branchline.checks import Check
from branchline.engines.ecs import checks, names, quotas, webhook, webhook_checks
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base, read_shard
from branchline.engines.ecs.webhook_secret import Document, write_secret
from branchline.settings.platform import Ecs, PlatformSettings
from tests.aws.base import make_base
from tests.aws.conftest import MiniStack
from tests.aws.proxy import Call, Proxy, Refusal, in_front_of
from tests.docs.pages import ROOT
from tests.driver import Branchline

_WAIT = "trap 'exit 0' TERM; sleep 60 & wait"
POLICY = ROOT / "deploy" / "iam" / "ci-policy.json"


def found(aws: Aws, base: Base, ministack: MiniStack, name: str) -> list[Check]:
    """The doctor's findings of that name."""
    settings = PlatformSettings(platform=base.platform, engine="ecs", ecs=Ecs(load_balancer=ministack.load_balancer))
    return [check for check in checks.run(aws, settings) if check.name == name]


@pytest.fixture
def proxy(ministack: MiniStack) -> Iterator[Proxy]:
    with in_front_of(ministack.url) as made:
        yield made


@pytest.fixture
def proxied(base: Base, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """The account, asked by way of the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return Aws(Ecs(), attempts=1)


def saying(values: dict[str, float], operation: str = "GetServiceQuota") -> Callable[[Call], Refusal | None]:
    """Service Quotas, which knows these by that operation, and otherwise says what it says of others."""

    def answer(call: Call) -> Refusal | None:
        if call.service != "servicequotas":
            return None
        code = json.loads(call.body)["QuotaCode"]
        if call.operation == operation and code in values:
            return Refusal(200, json.dumps({"Quota": {"QuotaCode": code, "Value": values[code]}}).encode())
        return Refusal(400, json.dumps({"__type": "NoSuchResourceException", "Message": "there is none"}).encode())

    return answer


def add_routes(aws: Aws, base: Base, shard: int, count: int) -> None:
    """As many environments on the load balancer as deploys would see them there."""
    for number in range(count):
        group = aws.elb.create_target_group(Name=f"{base.platform}-{shard}-{number}"[-32:], Port=80, Protocol="HTTP")
        aws.elb.create_rule(
            ListenerArn=read_shard(aws, base, shard).listener,
            Priority=number + 1,
            Conditions=[{"Field": "host-header", "Values": [f"{number}.preview.test"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": group["TargetGroups"][0].get("TargetGroupArn", "")}],
        )


# The command


def test_a_base_that_was_just_made_is_well(branchline: Branchline, base: Base, tmp_path: Path) -> None:
    items = branchline("doctor", "--json", cwd=tmp_path).json
    assert {item["check"] for item in items if item["result"] == "ok"} == {
        "branchline", "git", "state", "credentials", "clock", "base", "load balancer", "rules", "target groups",
        "services", "vCPUs", "webhook", "builder",
    }  # fmt: skip
    assert {item["check"] for item in items if item["result"] == "warning"} == {
        "permissions",  # the emulator's caller is the root user
        "certificate",  # the base was made without one,
        "domain",  # and with a domain that no DNS knows
    }
    assert all(item["remedy"] for item in items if item["result"] != "ok")
    text = branchline("aws", "doctor", "--name", base.platform, cwd=tmp_path).out
    assert f"load balancer {base.load_balancer.name} answers 404" in text
    assert f"make a DNS record: *.preview.test, an alias of (Route 53) or a CNAME for {base.load_balancer.dns}" in text


def test_without_a_base_the_doctor_says_how_to_make_it(aws: Aws) -> None:
    *_, last = checks.run(aws, PlatformSettings(platform="not-made", engine="ecs"))
    assert (last.name, last.result) == ("base", "failure")
    assert last.finding == "the platform 'not-made' has no base in us-east-1 yet"
    assert last.remedy.startswith("run 'branchline aws bootstrap'")


# What the platform stands on


def test_a_load_balancer_that_does_not_answer_is_a_failure(
    branchline: Branchline, ministack: MiniStack, tmp_path: Path
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        told = branchline.try_("doctor", "--json", cwd=tmp_path, env={"BRANCHLINE_ECS_LOAD_BALANCER": closed})
    (answer,) = (item for item in told.json if item["check"] == "load balancer")
    assert answer["result"] == "failure"
    assert "could not be asked" in answer["finding"]
    assert told.code == 1


def test_a_load_balancers_missing_stack_is_a_failure(aws: Aws, ecs_platform: str, ministack: MiniStack) -> None:
    base = make_base(aws, ecs_platform, domain="preview.test", shards=2)
    assert [check.result for check in found(aws, base, ministack, "load balancer")] == ["ok", "ok"]
    aws.cloudformation.delete_stack(StackName=names.shard_stack(ecs_platform, 2))
    (_, second) = found(aws, base, ministack, "base")
    assert second.result == "failure"
    assert second.finding == f"the stack {names.shard_stack(ecs_platform, 2)} is missing"
    (answer,) = found(aws, base, ministack, "load balancer")
    assert answer.result == "warning"
    assert answer.finding.startswith("not checked: the load balancer 2")


def test_a_certificate_that_aws_issued_is_well(aws_account: Aws, ecs_platform: str, ministack: MiniStack) -> None:
    aws_account.route53.create_hosted_zone(Name="preview.test", CallerReference="test")
    base = make_base(aws_account, ecs_platform, domain="preview.test", dns="record")
    (certificate,) = found(aws_account, base, ministack, "certificate")
    assert certificate.result == "ok"
    assert "issued for *.preview.test, valid until" in certificate.finding
    (domain,) = found(aws_account, base, ministack, "domain")
    assert domain.finding.startswith("each environment gets its own record")


# Quotas


def test_a_full_load_balancer_fails_with_the_command_that_adds_one(
    proxied: Aws, base: Base, proxy: Proxy, ministack: MiniStack
) -> None:
    add_routes(proxied, base, 1, 3)
    proxy.let(saying({quotas.RULES.code: 3, quotas.TARGET_GROUPS.code: 3}))
    for name in ("rules", "target groups"):
        (check,) = found(proxied, base, ministack, name)
        assert check.result == "failure"
        assert check.finding == f"{base.load_balancer.name} has 3 of 3"
        assert check.remedy == "add a load balancer: branchline aws bootstrap --shards 2"
    proxy.let(saying({quotas.RULES.code: 3, quotas.TARGET_GROUPS.code: 100}))
    (rules,) = found(proxied, base, ministack, "rules")
    assert "'Rules per Application Load Balancer' (L-7EED9B64)" in rules.remedy


def test_a_full_load_balancer_is_a_warning_while_another_has_room(
    aws: Aws, ecs_platform: str, proxy: Proxy, ministack: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(aws, ecs_platform, domain="preview.test", shards=2)
    add_routes(aws, base, 2, 3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.let(saying({quotas.RULES.code: 3, quotas.TARGET_GROUPS.code: 3}))
    first, second = found(Aws(Ecs()), base, ministack, "rules")
    assert (first.result, second.result) == ("ok", "warning")
    assert second.finding.endswith("has 3 of 3; new environments go to another")
    assert "--shards 3" in second.remedy


def test_a_quota_that_was_never_changed_is_awss_default(
    proxied: Aws, base: Base, proxy: Proxy, ministack: MiniStack
) -> None:
    proxy.let(saying({quotas.SERVICES.code: 1000}, "GetAWSDefaultServiceQuota"))
    (services,) = found(proxied, base, ministack, "services")
    assert services.finding == f"{names.cluster(base.platform)} has 0 of 1000"
    proxy.let(saying({}))
    (services,) = found(proxied, base, ministack, "services")
    assert services.finding.endswith("of 5000 (AWS's default; Service Quotas doesn't say what this account has)")


def test_the_processors_of_tasks_count_by_what_they_run_on(
    proxied: Aws, base: Base, proxy: Proxy, ministack: MiniStack, tiny_base: str
) -> None:
    cluster = names.cluster(base.platform)
    definition = proxied.ecs.register_task_definition(
        family=f"other-{base.platform}",
        cpu="512",
        memory="1024",
        containerDefinitions=[{"name": "x", "image": tiny_base, "command": ["sh", "-c", _WAIT]}],
    )["taskDefinition"].get("taskDefinitionArn", "")
    spot = proxied.ecs.run_task(
        cluster=cluster,
        taskDefinition=definition,
        capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT"}],
    )
    on_demand = proxied.ecs.run_task(cluster=cluster, taskDefinition=definition, launchType="FARGATE")
    proxy.let(saying({quotas.SPOT.code: 0.5, quotas.ON_DEMAND.code: 6}))
    try:
        first, second = found(proxied, base, ministack, "vCPUs")
    finally:
        for task in (*spot["tasks"], *on_demand["tasks"]):
            proxied.ecs.stop_task(cluster=cluster, task=task.get("taskArn", ""))
        proxied.ecs.deregister_task_definition(taskDefinition=definition)
    assert first.finding == "Fargate Spot vCPU resource count: the platform uses 0.5 of 0.5"
    assert first.result == "failure"
    assert second.finding == "Fargate On-Demand vCPU resource count: the platform uses 0.5 of 6"
    assert second.result == "ok"


def test_the_instances_of_the_auto_scaling_group_are_counted(aws_account: Aws, ecs_platform: str) -> None:
    base = make_base(aws_account, ecs_platform, domain="preview.test")
    on_instances = replace(base, capacity="ec2-spot", capacity_provider=names.capacity_stack(ecs_platform))
    (missing,) = checks.instances(aws_account, on_instances, own=True)
    assert missing.result == "failure"
    aws_account.autoscaling.create_launch_configuration(
        LaunchConfigurationName=ecs_platform, ImageId="ami-1", InstanceType="m5.large"
    )
    aws_account.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=names.capacity_stack(ecs_platform),
        LaunchConfigurationName=ecs_platform,
        MinSize=1,
        MaxSize=4,
        DesiredCapacity=2,
        AvailabilityZones=["us-east-1a"],
    )
    (check,) = checks.instances(aws_account, on_instances, own=True)
    assert check.result == "warning"
    assert check.finding.startswith("0 in the cluster, 2 running, 4 at most")


# Permissions


@pytest.fixture
def role(aws: Aws, base: Base, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Aws]]:
    """A session of a role that may do what the CI policy allows, but for some actions; maybe with a path of its own."""
    policy: Any = json.loads(
        POLICY.read_text()
        .replace("${Region}", aws.region)
        .replace("${Account}", "000000000000")
        .replace("${Platform}", base.platform)
    )

    def session(*without: str, path: str = "/") -> Aws:
        made = aws.iam.create_role(
            RoleName=base.platform,
            Path=path,
            AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": []}',
        )["Role"]
        for statement in policy["Statement"]:
            statement.pop("Condition", None)  # the emulator's simulator is not told the circumstances
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            statement["Action"] = [action for action in actions if action not in without] or ["sts:GetCallerIdentity"]
        aws.iam.put_role_policy(RoleName=base.platform, PolicyName="ci", PolicyDocument=json.dumps(policy))
        keys = aws.sts.assume_role(RoleArn=made["Arn"], RoleSessionName="job-1")["Credentials"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
        return Aws(Ecs(), attempts=1)

    yield session
    aws.iam.delete_role_policy(RoleName=base.platform, PolicyName="ci")
    aws.iam.delete_role(RoleName=base.platform)


def test_a_role_with_the_ci_policy_may_do_all_that_deploys_need(
    role: Callable[..., Aws], base: Base, ministack: MiniStack
) -> None:
    aws = role()
    (check,) = found(aws, base, ministack, "permissions")
    assert check.finding.startswith(f"arn:aws:iam::000000000000:role/{base.platform} has all ")
    (who,) = found(aws, base, ministack, "credentials")
    assert who.finding == f"assumed-role/{base.platform}/job-1 of the account 000000000000, in us-east-1"


def test_a_roles_path_which_its_sessions_do_not_show_is_found(
    role: Callable[..., Aws], base: Base, ministack: MiniStack
) -> None:
    """All that this shows is whom IAM is asked about: the emulator doesn't find the policies of a role with a path."""
    (check,) = found(role(path="/ci/"), base, ministack, "permissions")
    assert check.finding.startswith(f"arn:aws:iam::000000000000:role/ci/{base.platform} ")


def test_a_missing_permission_is_named(role: Callable[..., Aws], base: Base, ministack: MiniStack) -> None:
    aws = role("ecs:CreateService", "iam:PassRole")
    (check,) = found(aws, base, ministack, "permissions")
    assert check.result == "failure"
    assert check.finding.endswith("on this platform: ecs:CreateService, iam:PassRole")
    assert "deploy/iam/ci-policy.json" in check.remedy


def test_actions_that_iam_does_not_take_together_are_asked_about_one_by_one(
    role: Callable[..., Aws], base: Base, proxy: Proxy, ministack: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    role("ecr:PutImage")
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.let(lambda call: refused("InvalidInput", 400) if "ActionNames.member.2=" in call.body else None)
    (check,) = found(Aws(Ecs(), attempts=1), base, ministack, "permissions")
    assert check.finding.endswith("on this platform: ecr:PutImage")


def test_who_may_not_simulate_is_told_how_to_find_out(
    role: Callable[..., Aws], base: Base, proxy: Proxy, ministack: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    role()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.let(lambda call: refused("AccessDenied", 403) if call.service == "iam" else None)
    (check,) = found(Aws(Ecs(), attempts=1), base, ministack, "permissions")
    assert check.result == "warning"
    assert check.finding.startswith("not checked: can't ask IAM what")
    assert f"--policy-source-arn arn:aws:iam::000000000000:role/{base.platform} " in check.remedy


def test_what_aws_does_not_show_is_a_warning_and_the_rest_goes_on(
    proxied: Aws, base: Base, proxy: Proxy, ministack: MiniStack
) -> None:
    proxy.let(lambda call: refused("AccessDenied", 403) if call.operation == "DescribeRules" else None)
    (rules,) = found(proxied, base, ministack, "rules")
    assert rules.result == "warning"
    assert rules.finding.startswith("not checked: can't read the listener's rules")
    assert rules.remedy.startswith("let somebody look who may")
    assert [check.result for check in found(proxied, base, ministack, "services")] == ["ok"]


def refused(code: str, status: int) -> Refusal:
    """As the APIs in XML say it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
    return Refusal(status, f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>".encode())


def test_the_webhook_is_looked_at(aws_account: Aws) -> None:
    base = make_base(aws_account, "listens")
    (nobody,) = webhook_checks.check(aws_account, base.platform)
    assert (nobody.result, "aren't listened to" in nobody.finding) == ("ok", True)

    make_base(aws_account, "listens", webhook=True)
    made = webhook.require(aws_account, base.platform)
    aws_account.queues.send_message(QueueUrl=made.queue, MessageBody="{}")
    code, queue, forges = webhook_checks.check(aws_account, base.platform)
    assert (code.result, queue.result, forges.result) == ("ok", "warning", "warning")
    assert (
        queue.finding == "1 of the things it was to do failed, and are in the queue branchline-listens-webhook-failed"
    )

    document = Document(secrets=("known",), forges={"github": {"token": "secret"}})
    write_secret(aws_account, made.secret, document)
    aws_account.functions.update_function_code(FunctionName=made.function, ZipFile=_other_code())
    aws_account.queues.purge_queue(QueueUrl=made.queue)
    code, queue, forges = webhook_checks.check(aws_account, base.platform)
    assert (code.result, queue.result, forges.result) == ("warning", "ok", "ok")
    assert forges.finding == "it asks github which branches there are"


def _other_code() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("index.py", "def handler(event, context): pass")
    return made.getvalue()
