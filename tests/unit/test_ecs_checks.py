"""What the doctor makes of what it found on AWS, where no emulator gets into such states."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from branchline.checks import Check, Result
from branchline.engines.ecs import checks, permissions, quotas
from branchline.engines.ecs.base import Base, LoadBalancer
from branchline.engines.ecs.permissions import Caller, Question
from branchline.engines.ecs.quotas import Limit
from tests.unit.conftest import NO_ENGINE, Command

POLICY = Path(__file__).resolve().parent.parent.parent / "deploy" / "iam" / "ci-policy.json"
ACCOUNT, REGION, PLATFORM, ZONE = "123456789012", "eu-central-1", "team-a", "Z123"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def base(dns: str = "wildcard", shards: int = 1) -> Base:
    balancing = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}"
    return Base(
        platform=PLATFORM,
        vpc="vpc-1",
        subnets=("subnet-1", "subnet-2"),
        security_group="sg-1",
        capacity="fargate-spot",
        capacity_provider="",
        execution_role=f"arn:aws:iam::{ACCOUNT}:role/branchline-{PLATFORM}-ExecutionRole-1ABC",
        task_role=f"arn:aws:iam::{ACCOUNT}:role/branchline-{PLATFORM}-TaskRole-1ABC",
        domain="preview.example.com",
        scheme="https",
        dns=dns,
        hosted_zone=ZONE,
        log_retention=14,
        shards=shards,
        load_balancer=LoadBalancer(
            name=f"bl-{PLATFORM}-1",
            arn=f"{balancing}:loadbalancer/app/bl-{PLATFORM}-1/f2f7",
            dns="bl-1.elb.amazonaws.com",
            zone="Z9",
            listener=f"{balancing}:listener/app/bl-{PLATFORM}-1/f2f7/9683",
        ),
    )


# Quotas


@pytest.mark.parametrize(
    ("used", "most", "result"),
    [(0, 100, "ok"), (79, 100, "ok"), (80, 100, "warning"), (99, 100, "warning"), (100, 100, "failure"),
     (130, 100, "failure"), (4.75, 6, "ok"), (5, 6, "warning"), (6, 6, "failure"), (0, 0, "failure")],
)  # fmt: skip
def test_a_quota_warns_from_80_percent_and_fails_when_it_is_full(used: float, most: float, result: Result) -> None:
    found = quotas.judge("rules", f"bl-x-1 has {used:g}", used, Limit(most, known=True), "get more")
    assert found == Check("rules", result, f"bl-x-1 has {used:g} of {most:g}", "" if result == "ok" else "get more")


def test_a_quota_that_aws_does_not_say_is_called_the_default() -> None:
    found = quotas.judge("rules", "bl-x-1 has 1", 1, Limit(100, known=False), "")
    assert found.finding == "bl-x-1 has 1 of 100 (AWS's default; Service Quotas doesn't say what this account has)"


def test_a_quotas_remedy_names_it_as_the_console_does() -> None:
    assert "'Fargate Spot vCPU resource count' (L-36FBB829)" in quotas.SPOT.raising


# The clock, the stacks, the instances


@pytest.mark.parametrize(
    ("seconds", "result", "word"),
    [(0, "ok", ""), (-60, "ok", ""), (61, "warning", "61 s ahead of"), (-300, "warning", "300 s behind"),
     (301, "failure", "301 s ahead of"), (-86400, "failure", "behind")],
)  # fmt: skip
def test_a_clock_that_is_off_is_told_before_aws_refuses_the_signature(seconds: int, result: str, word: str) -> None:
    found = checks.judge_clock(NOW + timedelta(seconds=seconds), NOW)
    assert found.result == result
    assert word in found.finding
    assert bool(found.remedy) == (result != "ok")


@pytest.mark.parametrize(
    ("status", "result"),
    [("CREATE_COMPLETE", "ok"), ("UPDATE_COMPLETE", "ok"), ("UPDATE_IN_PROGRESS", "warning"),
     ("UPDATE_ROLLBACK_COMPLETE", "warning"), ("ROLLBACK_COMPLETE", "failure"), ("UPDATE_ROLLBACK_FAILED", "failure"),
     ("DELETE_FAILED", "failure"), ("", "failure")],
)  # fmt: skip
def test_a_stack_is_well_when_its_last_change_succeeded(status: str, result: str) -> None:
    found = checks.judge_stack("branchline-team-a", status)
    assert found.result == result
    assert bool(found.remedy) == (result != "ok")


@pytest.mark.parametrize(
    ("joined", "started", "most", "result"),
    [(0, 0, 20, "ok"), (3, 3, 20, "ok"), (2, 3, 20, "warning"), (16, 16, 20, "warning"), (20, 20, 20, "warning")],
)
def test_instances_that_did_not_join_and_a_full_group_are_told(
    joined: int, started: int, most: int, result: str
) -> None:
    assert checks.judge_instances(joined, started, most, "allow more").result == result


# The way to an environment


def certificate(**changes: Any) -> Any:
    return {
        "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/1",
        "DomainName": "*.preview.example.com",
        "SubjectAlternativeNames": ["*.preview.example.com"],
        "Status": "ISSUED",
        "Type": "AMAZON_ISSUED",
        "NotAfter": NOW + timedelta(days=200),
    } | changes


@pytest.mark.parametrize(
    ("changes", "result", "word"),
    [
        ({}, "ok", "valid until 2026-11-17"),
        ({"NotAfter": NOW + timedelta(days=29)}, "warning", "AWS should have renewed it"),
        ({"NotAfter": NOW + timedelta(days=29), "Type": "IMPORTED"}, "warning", "import its successor"),
        ({"NotAfter": NOW - timedelta(days=1)}, "failure", "it ended on 2026-04-30"),
        ({"Status": "EXPIRED"}, "failure", "in the state EXPIRED"),
        (
            {"DomainName": "*.example.com", "SubjectAlternativeNames": ["*.example.com"]},
            "failure",
            "it is for *.example.com, not for *.preview.example.com",
        ),
        (
            {
                "Status": "PENDING_VALIDATION",
                "DomainValidationOptions": [
                    {"ResourceRecord": {"Name": "_a.preview.example.com.", "Type": "CNAME", "Value": "_b.aws."}}
                ],
            },
            "failure",
            "make the DNS record that proves it: _a.preview.example.com. CNAME _b.aws.",
        ),
    ],
)
def test_a_certificate_is_issued_for_the_hosts_and_not_about_to_end(
    changes: dict[str, Any], result: str, word: str
) -> None:
    found = checks.judge_certificate(certificate(**changes), "preview.example.com", NOW)
    assert found.result == result
    assert word in f"{found.finding} {found.remedy}"


@pytest.mark.parametrize(
    ("dns", "found", "expected", "result", "word"),
    [
        ("none", {"192.0.2.1"}, {"192.0.2.1", "192.0.2.2"}, "ok", "resolves to the load balancer, 192.0.2.1"),
        ("none", set[str](), {"192.0.2.1"}, "warning", "*.preview.example.com, an alias of (Route 53) or a CNAME"),
        ("wildcard", set[str](), {"192.0.2.1"}, "warning", "the hosted zone Z123 has the record"),
        ("none", {"192.0.2.9"}, {"192.0.2.1"}, "warning", "resolves to 192.0.2.9, which isn't the load balancer"),
        ("none", {"192.0.2.9"}, set[str](), "warning", "doesn't resolve here"),
    ],
)  # fmt: skip
def test_a_host_that_does_not_lead_to_the_load_balancer_is_told_with_the_record_to_make(
    dns: str, found: set[str], expected: set[str], result: str, word: str
) -> None:
    told = checks.judge_name(base(dns), "x.preview.example.com", "preview.example.com", found, expected)
    assert told.result == result
    assert word in f"{told.finding} {told.remedy}"


# Permissions: what is asked about is what the policy allows

STATEMENTS: list[Any] = json.loads(
    POLICY.read_text()
    .replace("${Region}", REGION)
    .replace("${Account}", ACCOUNT)
    .replace("${Platform}", PLATFORM)
    .replace("${HostedZone}", ZONE)
    .replace("${Domain}", "preview.example.com")
)["Statement"]
CALLER = Caller(f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/1", ACCOUNT, REGION)
QUESTIONS = list(permissions.wanted(CALLER, base("record", shards=2)))


def texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def holds(operator: str, wanted: dict[str, str | list[str]], context: dict[str, str]) -> bool:
    """Whether the circumstances fulfil a condition, as IAM has it for the operators that the policy uses."""
    if operator == "Null":
        return all((key not in context) == (value == "true") for key, value in wanted.items())
    return all(any(fnmatchcase(context.get(key, ""), each) for each in texts(value)) for key, value in wanted.items())


def allows(statement: Any, action: str, question: Question) -> bool:
    return (
        action in texts(statement["Action"])
        and any(fnmatchcase(question.resource, pattern) for pattern in texts(statement["Resource"]))
        and all(
            holds(operator, wanted, dict(question.context))
            for operator, wanted in statement.get("Condition", {}).items()
        )
    )


def test_the_policy_allows_all_that_is_asked_about() -> None:
    refused = [
        (action, question.resource)
        for question in QUESTIONS
        for action in question.actions
        if not any(allows(statement, action, question) for statement in STATEMENTS)
    ]
    assert refused == []


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement["Sid"])
def test_all_that_the_policy_allows_is_asked_about(statement: Any) -> None:
    asked = {action for question in QUESTIONS for action in question.actions if allows(statement, action, question)}
    assert asked == set(texts(statement["Action"]))


def test_records_are_asked_about_only_where_deploys_make_some() -> None:
    wildcard = permissions.wanted(CALLER, base("wildcard"))
    assert not [action for question in wildcard for action in question.actions if action.startswith("route53:")]


# The commands, where there is no account to ask

ON_ECS = {
    "BRANCHLINE_ENGINE": "ecs",
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def test_without_credentials_and_engine_the_doctor_says_how_to_get_them(command: Command, tmp_path: Path) -> None:
    told = command("doctor", "--json", cwd=tmp_path, env=ON_ECS)
    assert told.code == 1
    found = {item["check"]: item for item in json.loads(told.out)}
    assert found["credentials"]["result"] == "failure"
    assert "there are no AWS credentials" in found["credentials"]["finding"]
    assert "aws sso login" in found["credentials"]["remedy"]
    assert found["builder"]["result"] == "warning"
    assert NO_ENGINE in found["builder"]["finding"]
    assert "branchline deploy --image REF" in found["builder"]["remedy"]


def test_a_profile_that_does_not_exist_is_named(command: Command, tmp_path: Path) -> None:
    told = command("aws", "doctor", "--json", cwd=tmp_path, env=ON_ECS | {"AWS_PROFILE": "nobodys"})
    found = {item["check"]: item for item in json.loads(told.out)}
    assert found["credentials"]["finding"] == "the AWS profile 'nobodys' doesn't exist"


@pytest.mark.parametrize("name", ["start", "stop", "status"])
def test_on_ecs_there_is_no_router_of_ours(command: Command, tmp_path: Path, name: str) -> None:
    command.refuses(
        "router",
        name,
        cwd=tmp_path,
        error="on Amazon ECS the load balancer is the router",
        remedy="branchline aws doctor",
        env={"BRANCHLINE_ENGINE": "ecs"},
    )
