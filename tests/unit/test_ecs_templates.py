"""The CloudFormation templates, as far as they can be judged without AWS: by cfn-lint, and by what they say.

The emulator knows no capacity providers, so capacity-ec2.yaml is never deployed in a test: what is asserted of it here
is that it is well-formed and says what AWS's documentation asks for.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from branchline.cli import aws as command
from branchline.engines.ecs import base as reader
from branchline.engines.ecs import names, templates
from branchline.engines.ecs import webhook as webhook_reader

PLATFORM = "shop"
DIRECTORY = Path(str(resources.files(templates)))
UNTAGGED = {
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::EC2::Route",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::Route53::RecordSet",
    "AWS::IAM::InstanceProfile",
    "AWS::EC2::LaunchTemplate",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Logs::MetricFilter",
    "AWS::Lambda::Permission",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::Scheduler::Schedule",
}
"""What has no tags of its own, or, as launch templates and listeners, has them elsewhere or needs none to be found."""


def load(name: str) -> Any:
    """The template with its short forms written out, such as `Fn::Sub`."""
    template, problems = decode(str(DIRECTORY / f"{name}.yaml"))
    assert not problems
    return template


def named(value: Any) -> str:
    """A name as the platform's stack would have it."""
    text = value["Fn::Sub"] if isinstance(value, dict) else value
    return text.replace("${Platform}", PLATFORM)


def resource(template: Any, name: str) -> Any:
    return template["Resources"][name]["Properties"]


def statements(role: Any) -> list[Any]:
    return [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cfn_lint_has_nothing_to_say() -> None:
    tool = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [tool, *(DIRECTORY / f"{name}.yaml" for name in templates.TEMPLATES)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_only_one_check_of_cfn_lint_is_silenced_and_that_for_one_resource() -> None:
    silenced = [
        line.partition("#")[0].strip()
        for name in templates.TEMPLATES
        for line in templates.text(name).splitlines()
        if "ignore_checks" in line
    ]

    assert silenced == ["ignore_checks: [W1030]"]


@pytest.mark.parametrize("name", templates.TEMPLATES)
def test_a_template_fits_into_the_call_that_deploys_it(name: templates.Template) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"""
    assert len(templates.text(name).encode()) <= 51_200


def test_every_template_is_listed() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.yaml")} == set(templates.TEMPLATES)


def test_the_base_gives_all_that_is_read_of_it() -> None:
    read = set(re.findall(r"outputs(?:\[|\.get\()\"(\w+)\"", inspect.getsource(reader)))

    assert len(read) > 10
    assert read <= set(load("base")["Outputs"])
    assert set(load("load-balancer")["Outputs"]) == {"LoadBalancer", "LoadBalancerDns", "LoadBalancerZone", "Listener"}


def test_names_are_those_that_are_computed() -> None:
    base, capacity = load("base"), load("capacity-ec2")

    assert named(resource(base, "Cluster")["ClusterName"]) == names.cluster(PLATFORM)
    assert named(resource(base, "LeaseTable")["TableName"]) == names.lease_table(PLATFORM)
    assert named(resource(base, "LoadBalancer")["Name"]) == names.load_balancer(PLATFORM, 1)
    further = named(resource(load("load-balancer"), "LoadBalancer")["Name"])
    assert further.replace("${Number}", "2") == names.load_balancer(PLATFORM, 2)
    assert named(resource(capacity, "CapacityProvider")["Name"]) == names.capacity_stack(PLATFORM)
    assert named(resource(capacity, "Instances")["AutoScalingGroupName"]) == names.capacity_stack(PLATFORM)
    assert named(resource(capacity, "CapacityProviders")["Cluster"]) == names.cluster(PLATFORM)


@pytest.mark.parametrize("name", templates.TEMPLATES)
def test_what_can_be_tagged_says_whose_it_is(name: str) -> None:
    for logical, declared in load(name)["Resources"].items():
        if declared["Type"] not in UNTAGGED:
            said = declared["Properties"]["Tags"]
            tags = {tag["Key"]: tag["Value"] for tag in said} if isinstance(said, list) else said
            assert tags["branchline:platform"] == {"Ref": "Platform"}, logical


def test_nothing_is_kept_when_a_stack_is_deleted() -> None:
    for name in templates.TEMPLATES:
        for declared in load(name)["Resources"].values():
            assert declared.get("DeletionPolicy", "Delete") == "Delete"


def test_leases_expire() -> None:
    """The emulator's CloudFormation leaves that out."""
    table = resource(load("base"), "LeaseTable")

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["KeySchema"] == [{"AttributeName": "environment", "KeyType": "HASH"}]


def test_only_the_load_balancers_reach_the_tasks() -> None:
    base = load("base")
    (rule,) = resource(base, "TaskSecurityGroup")["SecurityGroupIngress"]

    assert rule["SourceSecurityGroupId"] == {"Fn::GetAtt": ["LoadBalancerSecurityGroup", "GroupId"]}
    ingress = resource(base, "LoadBalancerSecurityGroup")["SecurityGroupIngress"]
    assert [(each["FromPort"], each["ToPort"]) for each in ingress] == [(80, 80), (443, 443)]


def test_roles_may_do_what_they_are_for_and_no_more() -> None:
    base, capacity = load("base"), load("capacity-ec2")
    may = {
        role: sorted(action for each in statements(properties) for action in listed(each["Action"]))
        for role, properties in (
            ("execution", resource(base, "ExecutionRole")),
            ("task", resource(base, "TaskRole")),
            ("instance", resource(capacity, "InstanceRole")),
        )
    }

    assert may == {
        "execution": [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer",
            "kms:Decrypt",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "secretsmanager:GetSecretValue",
            "ssm:GetParameters",
        ],
        "task": [
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ],
        "instance": [
            "ecs:DeregisterContainerInstance",
            "ecs:DiscoverPollEndpoint",
            "ecs:Poll",
            "ecs:RegisterContainerInstance",
            "ecs:StartTelemetrySession",
            "ecs:SubmitAttachmentStateChanges",
            "ecs:SubmitContainerStateChange",
            "ecs:SubmitTaskStateChange",
            "ecs:UpdateContainerInstancesState",
        ],
    }


def test_what_is_allowed_on_everything_takes_no_resource() -> None:
    roles = [resource(load("base"), "ExecutionRole"), resource(load("base"), "TaskRole")]
    roles.append(resource(load("capacity-ec2"), "InstanceRole"))
    everywhere = {each["Sid"] for role in roles for each in statements(role) if each["Resource"] == "*"}

    assert everywhere == {"LogIn", "AnswerSessions", "FindTheService"}
    for role in roles:
        assert "ManagedPolicyArns" not in role


def test_the_roles_of_tasks_are_for_the_tasks_of_this_account_alone() -> None:
    for name in ("ExecutionRole", "TaskRole"):
        (trust,) = resource(load("base"), name)["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_images_and_logs_are_those_of_the_platform() -> None:
    allowed = {each["Sid"]: each["Resource"] for each in statements(resource(load("base"), "ExecutionRole"))}

    assert named(allowed["PullImages"]).endswith(f":repository/branchline.{PLATFORM}/*")
    assert named(allowed["WriteLogs"]).endswith(f":log-group:{names.log_groups(PLATFORM)}*")


def test_a_sessions_input_and_output_are_not_logged() -> None:
    configuration = resource(load("base"), "Cluster")["Configuration"]

    assert configuration == {"ExecuteCommandConfiguration": {"Logging": "NONE"}}


def test_every_load_balancer_answers_alike() -> None:
    base, further = load("base"), load("load-balancer")

    assert base["Mappings"] == further["Mappings"]
    assert len(base["Mappings"]["Pages"]["NotFound"]["Html"]) <= 1024
    for listener in ("HttpListener", "HttpsListener"):
        one, other = resource(base, listener), resource(further, listener)
        assert {**one, "Certificates": None} == {**other, "Certificates": None}


def test_port_80_is_one_listener_with_a_certificate_or_without() -> None:
    """Two of them, one for each case, would meet on the port when a base gets its certificate."""
    (action,) = resource(load("base"), "HttpListener")["DefaultActions"]
    condition, redirect, fixed = action["Fn::If"]

    assert condition == "HasCertificate"
    assert redirect["RedirectConfig"] == {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    assert fixed["FixedResponseConfig"]["StatusCode"] == "404"


def test_instances_keep_their_credentials_from_containers_and_know_what_spot_does() -> None:
    capacity = load("capacity-ec2")
    data = resource(capacity, "LaunchTemplate")["LaunchTemplateData"]

    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    script = named(data["UserData"]["Fn::Base64"])
    assert f"ECS_CLUSTER={names.cluster(PLATFORM)}\n" in script
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n" in script
    assert "ECS_IMAGE_PULL_BEHAVIOR=once\n" in script
    image = capacity["Parameters"]["ImageParameter"]["Default"]
    assert image == "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"


def test_the_cluster_grows_and_shrinks_with_its_tasks() -> None:
    capacity = load("capacity-ec2")
    group, provider = (
        resource(capacity, "Instances"),
        resource(capacity, "CapacityProvider")["AutoScalingGroupProvider"],
    )
    distribution = group["MixedInstancesPolicy"]["InstancesDistribution"]

    assert distribution["SpotAllocationStrategy"] == "price-capacity-optimized"
    assert distribution["OnDemandPercentageAboveBaseCapacity"] == {"Fn::If": ["OnSpot", 0, 100]}
    assert len(group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]) >= 4
    assert provider["ManagedScaling"]["Status"] == provider["ManagedDraining"] == "ENABLED"
    assert provider["ManagedTerminationProtection"] == "ENABLED"
    assert group["NewInstancesProtectedFromScaleIn"] is True, "which managed termination protection needs"
    assert provider["ManagedScaling"]["InstanceWarmupPeriod"] == group["DefaultInstanceWarmup"] == 30


def test_the_command_line_offers_what_the_templates_take() -> None:
    parameters = load("base")["Parameters"]
    options = {option.name: option for option in command.bootstrap_command.params}

    assert list(command.RETENTIONS) == parameters["LogRetentionDays"]["AllowedValues"]
    assert list(options["capacity"].type.choices) == parameters["Capacity"]["AllowedValues"]  # pyright: ignore[reportAttributeAccessIssue]
    assert {*options["dns"].type.choices, "none"} == set(parameters["Dns"]["AllowedValues"])  # pyright: ignore[reportAttributeAccessIssue]


def test_the_function_is_small_recent_and_bounded() -> None:
    function = resource(load("webhook"), "Function")

    assert (function["Runtime"], function["Architectures"], function["Handler"]) == (
        "python3.13",
        ["arm64"],
        "index.handler",
    )
    assert named(function["FunctionName"]) == f"{names.webhook_stack(PLATFORM)}"
    assert function["Timeout"] == 300
    assert function["MemorySize"] == 512
    assert function["Environment"]["Variables"].keys() == {
        "BRANCHLINE_PLATFORM",
        "BRANCHLINE_SECRET",
        "BRANCHLINE_FORK_LABEL",
    }


def test_who_floods_the_webhook_is_told_to_come_back_and_a_forge_is_answered_in_time() -> None:
    """GitHub waits for ten seconds: https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks"""
    webhook = load("webhook")

    assert resource(webhook, "Stage")["DefaultRouteSettings"] == {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 50}
    assert resource(webhook, "Integration")["TimeoutInMillis"] < 10_000
    assert resource(webhook, "Integration")["PayloadFormatVersion"] == "2.0"
    routes = [
        each["Properties"] for each in webhook["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Route"
    ]
    assert [route["RouteKey"] for route in routes] == ["POST /webhooks/{forge}"]
    (permission,) = [
        each["Properties"] for each in webhook["Resources"].values() if each["Type"] == "AWS::Lambda::Permission"
    ]
    assert permission["SourceArn"]["Fn::Sub"].endswith(":${Api}/*/*/webhooks/*")


def test_what_fails_is_done_again_kept_and_made_known() -> None:
    webhook = load("webhook")
    retries, queue = resource(webhook, "Retries"), resource(webhook, "FailedQueue")

    assert retries["MaximumRetryAttempts"] == 2
    assert retries["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailedQueue", "Arn"]}
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert queue["SqsManagedSseEnabled"] is True
    alarms = {
        name: declared["Properties"]
        for name, declared in webhook["Resources"].items()
        if declared["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert {name: (alarm["Namespace"], named(alarm["MetricName"])) for name, alarm in alarms.items()} == {
        "FailureAlarm": ("AWS/Lambda", "Errors"),
        "GivenUpAlarm": ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        "ReapAlarm": ("Branchline", f"{PLATFORM}-reap-failed"),
    }
    for alarm in alarms.values():
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["AlarmActions"]["Fn::If"][0] == "HasAlarmTopic"
    assert alarms["FailureAlarm"]["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "Function"}}]


def test_a_reap_that_failed_is_counted_by_what_the_function_logs() -> None:
    """See test_webhook_on_ecs.py for that. Lambda would repeat an error at once, and keep it."""
    webhook = load("webhook")
    counted = resource(webhook, "ReapFailures")

    assert counted["FilterPattern"] == '{ $.what = "failed" && $.job = "reap" }'
    assert named(counted["LogGroupName"]) == named(resource(webhook, "LogGroup")["LogGroupName"])
    (metric,) = counted["MetricTransformations"]
    alarm = resource(webhook, "ReapAlarm")
    assert (metric["MetricNamespace"], metric["MetricName"]) == (alarm["Namespace"], alarm["MetricName"])


def test_the_functions_log_is_there_before_it_and_does_not_stay_for_ever() -> None:
    webhook = load("webhook")
    group = resource(webhook, "LogGroup")

    assert named(group["LogGroupName"]) == f"/aws/lambda/{names.webhook_stack(PLATFORM)}"
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert list(command.RETENTIONS) == webhook["Parameters"]["LogRetentionDays"]["AllowedValues"]
    assert webhook["Resources"]["Function"]["DependsOn"] == "LogGroup"


def test_what_was_missed_is_looked_for_every_quarter_of_an_hour() -> None:
    webhook = load("webhook")
    schedule = resource(webhook, "Reaper")

    assert schedule["ScheduleExpression"] == "rate(15 minutes)"
    assert json.loads(schedule["Target"]["Input"]) == {"job": "reap"}
    (trust,) = resource(webhook, "ScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (may,) = statements(resource(webhook, "ScheduleRole"))
    assert (may["Action"], may["Resource"]) == ("lambda:InvokeFunction", {"Fn::GetAtt": ["Function", "Arn"]})


def test_the_template_holds_no_secret() -> None:
    assert resource(load("webhook"), "Secret")["SecretString"] == "{}"


def test_the_webhook_gives_all_that_is_read_of_it() -> None:
    read = set(re.findall(r"outputs\[\"(\w+)\"\]", inspect.getsource(webhook_reader)))

    assert read == set(load("webhook")["Outputs"])
