"""What CI may do, and what the function may: each allows what its code calls, and no more than AWS lets a policy say.

AWS's service reference, as cfn-lint ships it, says which resources and condition keys each action knows. Whether IAM
decides so is checked by nothing here: MiniStack and moto allow everything.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from branchline.engines.ecs import names
from branchline.engines.ecs.package import function_code
from branchline.environment import EnvironmentId
from branchline.naming import image_repository
from tests.call_graph import CallGraph
from tests.policies import Calls, actions, known_of, resources_of, service_reference, statements_of_role, texts

ROOT = Path(__file__).resolve().parent.parent.parent
POLICIES = ROOT / "deploy" / "iam"
ENGINE = ROOT / "src" / "branchline" / "engines" / "ecs"
DOCS = ROOT / "docs" / "how-to" / "aws-ci.md"
NOT_FOR_CI = {
    "base_plan.py": "the operator's",
    "bootstrap.py": "the operator's",
    "checks.py": "the doctor's, which says what it may not look at",
    "permissions.py": "the doctor's",
    "quotas.py": "the doctor's",
    "stacks.py": "the operator's",
    "teardown.py": "the operator's",
    "webhook.py": "the operator's",
    "webhook_checks.py": "the doctor's",
    "webhook_secret.py": "the operator's and the function's",
    "session.py": "a person's, who runs a command in an environment",
}
"""Modules whose operations the CI role needn't have, and whose they are."""
OF_DOCKER = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
}
"""What `docker push` and `docker pull` do:
https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html"""
WITH_TAGS = {"ecs:TagResource", "ecr:TagResource", "logs:TagResource", "elasticloadbalancing:AddTags"}
"""Needed to make something with tags."""
WITHOUT_CALL = OF_DOCKER | WITH_TAGS | {"iam:PassRole"}
WITH_ANY_RESOURCE = {"ListInCluster": "ecs:cluster"}
"""Statements about every resource where AWS would take an ARN, and the condition that says which."""

POLICY: Any = json.loads((POLICIES / "ci-policy.json").read_text())
STATEMENTS: list[Any] = POLICY["Statement"]


FUNCTION: list[Any] = statements_of_role("webhook", "Role")
"""What the function may that removes environments whose branch is gone."""
OF_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}
"""What Lambda does by the function's role beside running it.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html"""
each_policy = pytest.mark.parametrize("statements", [STATEMENTS, FUNCTION], ids=["ci", "function"])


def called() -> Iterator[tuple[str, str]]:
    """Each module's operations, as actions of policies."""
    for path in sorted(ENGINE.glob("*.py")):
        calls = Calls()
        calls.visit(ast.parse(path.read_text()))
        for action in sorted(calls.actions):
            yield path.name, action


def called_by_the_function() -> set[str]:
    """All that its handler may ask of AWS, by the code that is uploaded."""
    with zipfile.ZipFile(io.BytesIO(function_code())) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        modules = {
            name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): ast.parse(archive.read(name))
            for name in names
        }
    calls = Calls()
    for node in CallGraph(modules).reached("branchline.functions.entry", "handler"):
        calls.visit(node)
    return calls.actions


def test_the_policy_allows_every_operation_that_the_engine_calls() -> None:
    needed = {(module, action) for module, action in called() if module not in NOT_FOR_CI}
    assert len(needed) > 25
    assert {(module, action) for module, action in needed if action not in actions(STATEMENTS)} == set()


def test_the_policy_allows_nothing_that_the_engine_does_not_do() -> None:
    needed = {action for module, action in called() if module not in NOT_FOR_CI}
    assert actions(STATEMENTS) - needed - WITHOUT_CALL == set()


def test_the_function_may_do_what_it_asks_for_and_nothing_else() -> None:
    assert actions(FUNCTION) == called_by_the_function() | OF_LAMBDA


def test_the_function_can_make_nothing_and_change_nothing_but_by_removing_it() -> None:
    """What it leaves behind are entries in the lease table, and calls of itself."""
    reads = {action for action in actions(FUNCTION) if action.split(":")[1].startswith(("Describe", "Get", "List"))}
    others = actions(FUNCTION) - reads - OF_LAMBDA - {"dynamodb:Scan", "ecr:BatchDeleteImage"}
    assert {action for action in others if not action.split(":")[1].startswith(("Delete", "Deregister"))} == {
        "dynamodb:UpdateItem",
        "lambda:InvokeFunction",
        "route53:ChangeResourceRecordSets",
    }
    (records,) = [each for each in FUNCTION if each["Sid"] == "DeleteRecords"]
    conditions = records["Condition"]["ForAllValues:StringEquals"]
    assert conditions["route53:ChangeResourceRecordSetsActions"] == "DELETE"
    assert conditions["route53:ChangeResourceRecordSetsRecordTypes"] == "A"


def test_the_function_deletes_nothing_that_does_not_carry_the_platforms_tag_or_name() -> None:
    tagged = {"StringEquals": {"aws:ResourceTag/branchline:platform": "${Platform}"}}
    for statement in FUNCTION:
        for action in texts(statement["Action"]):
            if action.split(":")[1].startswith(("Delete", "BatchDelete")):
                named = all("${Platform}" in resource for resource in texts(statement["Resource"]))
                assert statement.get("Condition") == tagged or named, statement["Sid"]


def test_the_modules_that_are_left_out_are_there() -> None:
    assert NOT_FOR_CI.keys() <= {path.name for path in ENGINE.glob("*.py")}


@each_policy
def test_every_action_exists(statements: list[Any]) -> None:
    for action in actions(statements):
        assert action.split(":")[1].lower() in service_reference()[action.split(":")[0]]["Actions"], action


@each_policy
def test_an_action_is_about_every_resource_only_where_aws_takes_no_other(statements: list[Any]) -> None:
    for statement in statements:
        kinds = {action: known_of(action).get("Resources") for action in texts(statement["Action"])}
        if statement["Resource"] == "*":
            condition = WITH_ANY_RESOURCE.get(statement["Sid"])
            assert condition is None or condition in str(statement["Condition"])
            assert condition or not any(kinds.values()), f"{statement['Sid']}: {kinds}"
        else:
            assert all(kinds.values()), f"{statement['Sid']}: {kinds}"
    assert WITH_ANY_RESOURCE.keys() <= {statement["Sid"] for statement in statements}


@each_policy
def test_each_resource_is_of_a_kind_that_one_of_its_actions_knows(statements: list[Any]) -> None:
    for statement in statements:
        known = {
            re.sub(r"\$\{\w+\}", "[^:]*", form)
            for action in texts(statement["Action"])
            for kind in resources_of(action)
            for form in kind["ARNFormats"]
        }
        for resource in texts(statement["Resource"]):
            assert resource == "*" or any(re.fullmatch(form, resource) for form in known), resource


@each_policy
def test_each_condition_on_tags_is_one_that_the_resource_knows(statements: list[Any]) -> None:
    for statement in statements:
        if "aws:ResourceTag" not in str(statement.get("Condition")):
            continue
        for action in texts(statement["Action"]):
            for kind in resources_of(action):
                keys = kind.get("ConditionKeys", [])
                assert "aws:ResourceTag/${TagKey}" in keys, f"{action} on {kind}"


def matches(statement: str, arn: str, statements: list[Any] = STATEMENTS) -> bool:
    """Whether a statement is about an ARN of the platform `team-a`, in which `*` stands for anything."""
    (found,) = [each for each in statements if each["Sid"] == statement]
    filled = [resource.replace("${Platform}", "team-a") for resource in texts(found["Resource"])]
    return any(fnmatchcase(arn, resource) for resource in filled)


def test_the_resources_are_those_that_the_names_lead_to_and_not_another_platforms() -> None:
    here = "${Region}:${Account}"

    def arns(platform: str) -> dict[str, str]:
        environment = EnvironmentId(platform, "shop", "feature/login")
        balancing = f"arn:aws:elasticloadbalancing:{here}"
        balancer = f"app/{names.load_balancer(platform, 12)}/50dc6c495c0c9188"
        return {
            "ReadBase": f"arn:aws:cloudformation:{here}:stack/{names.base_stack(platform)}/1-2-3",
            "Lease": f"arn:aws:dynamodb:{here}:table/{names.lease_table(platform)}",
            "Images": f"arn:aws:ecr:{here}:repository/{image_repository(platform, 'shop')}",
            "Logs": f"arn:aws:logs:{here}:log-group:{names.log_group(environment)}:*",
            "ChangeServices": f"arn:aws:ecs:{here}:service/{names.cluster(platform)}/{names.service(environment)}",
            "ReadTasks": f"arn:aws:ecs:{here}:task/{names.cluster(platform)}/1234",
            "MakeTaskDefinitions": f"arn:aws:ecs:{here}:task-definition/{names.family(environment)}:3",
            "MakeRules": f"{balancing}:listener/{balancer}/f2f7dc8efc522ab2",
            "ChangeRouting": f"{balancing}:listener-rule/{balancer}/f2f7dc8efc522ab2/9683b2d0",
            "PassRolesToTasks": f"arn:aws:iam::${{Account}}:role/{names.base_stack(platform)}-ExecutionRole-1ABC",
        }

    assert [sid for sid, arn in arns("team-a").items() if not matches(sid, arn)] == []
    assert [sid for sid, arn in arns("team-a-b").items() if matches(sid, arn)] == []
    assert matches("ReadBase", f"arn:aws:cloudformation:{here}:stack/{names.shard_stack('team-a', 2)}/1-2-3")
    group = names.target_group(EnvironmentId("team-a", "shop", "main"))
    assert matches("MakeTargetGroups", f"arn:aws:elasticloadbalancing:{here}:targetgroup/{group}/73e2d6bc")


def test_the_functions_resources_are_those_that_the_names_lead_to_and_not_another_platforms() -> None:
    here = "${Region}:${Account}"

    def arns(platform: str) -> dict[str, str]:
        environment = EnvironmentId(platform, "shop", "feature/login")
        balancing = f"arn:aws:elasticloadbalancing:{here}"
        balancer = f"app/{names.load_balancer(platform, 12)}/50dc6c495c0c9188"
        return {
            "ReadBase": f"arn:aws:cloudformation:{here}:stack/{names.shard_stack(platform, 12)}/1-2-3",
            "Lease": f"arn:aws:dynamodb:{here}:table/{names.lease_table(platform)}",
            "Images": f"arn:aws:ecr:{here}:repository/{image_repository(platform, 'shop')}",
            "Logs": f"arn:aws:logs:{here}:log-group:{names.log_group(environment)}:*",
            "ReadServices": f"arn:aws:ecs:{here}:service/{names.cluster(platform)}/{names.service(environment)}",
            "DeleteServices": f"arn:aws:ecs:{here}:service/{names.cluster(platform)}/{names.service(environment)}",
            "DeleteTaskDefinitions": f"arn:aws:ecs:{here}:task-definition/{names.family(environment)}:3",
            "DeleteRouting": f"{balancing}:listener-rule/{balancer}/f2f7dc8efc522ab2/9683b2d0",
            "HandOverToItself": f"arn:aws:lambda:{here}:function:branchline-{platform}-webhook",
            "WriteLog": f"arn:aws:logs:{here}:log-group:/aws/lambda/branchline-{platform}-webhook:log-stream:1",
        }

    assert [sid for sid, arn in arns("team-a").items() if not matches(sid, arn, FUNCTION)] == []
    assert [sid for sid, arn in arns("team-a-b").items() if matches(sid, arn, FUNCTION)] == []
    assert matches("ReadBase", f"arn:aws:cloudformation:{here}:stack/{names.base_stack('team-a')}/1-2-3", FUNCTION)
    group = names.target_group(EnvironmentId("team-a", "shop", "main"))
    assert matches("DeleteRouting", f"arn:aws:elasticloadbalancing:{here}:targetgroup/{group}/73e2d6bc", FUNCTION)


def test_roles_are_passed_to_tasks_and_to_nothing_else() -> None:
    (statement,) = [each for each in STATEMENTS if "iam:PassRole" in each["Action"]]
    assert statement["Action"] == "iam:PassRole"
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    assert len(statement["Resource"]) == 2


@pytest.mark.parametrize("file", sorted(POLICIES.glob("*.json")), ids=lambda file: file.name)
def test_a_policy_is_well_formed_and_fits(file: Path) -> None:
    policy = json.loads(file.read_text())
    assert policy.keys() == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
        assert statement["Effect"] == "Allow"
    # A role's own policies have 10,240 characters, its trust policy 2,048, white space not counted.
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    limit = 2048 if "trust" in file.name else 10_240
    assert len("".join(file.read_text().split())) < limit - 500, "no room for long names"


def test_the_page_explains_each_placeholder() -> None:
    placeholders = {name for file in POLICIES.glob("*.json") for name in re.findall(r"\$\{\w+\}", file.read_text())}
    assert {name for name in placeholders if f"`{name}`" not in DOCS.read_text()} == set()
