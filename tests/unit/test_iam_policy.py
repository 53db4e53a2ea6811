"""The CI role's policy: it allows what the engine calls, and no more than AWS lets a policy say.

AWS's service reference, as cfn-lint ships it, says which resources and condition keys each action knows. Whether IAM
decides so is checked by nothing here: MiniStack and moto allow everything.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from branchline.engines.ecs import names
from branchline.environment import EnvironmentId
from branchline.naming import image_repository

ROOT = Path(__file__).resolve().parent.parent.parent
POLICIES = ROOT / "deploy" / "iam"
ENGINE = ROOT / "src" / "branchline" / "engines" / "ecs"
DOCS = ROOT / "docs" / "how-to" / "aws-ci.md"
CLIENTS = {
    "ecs": "ecs",
    "elb": "elbv2",
    "ecr": "ecr",
    "logs": "logs",
    "dynamodb": "dynamodb",
    "route53": "route53",
    "cloudformation": "cloudformation",
    "ec2": "ec2",
    "acm": "acm",
    "iam": "iam",
    "sts": "sts",
    "quotas": "service-quotas",
}
"""The services of `Aws`, by its attributes."""
PREFIXES = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
"""What a service is called in policies, where that isn't its name in boto3."""
NOT_FOR_CI = {
    "base_plan.py": "the operator's",
    "bootstrap.py": "the operator's",
    "checks.py": "the doctor's, which says what it may not look at",
    "permissions.py": "the doctor's",
    "quotas.py": "the doctor's",
    "stacks.py": "the operator's",
    "teardown.py": "the operator's",
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


def texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowed() -> set[str]:
    return {action for statement in STATEMENTS for action in texts(statement["Action"])}


@pytest.fixture(scope="module")
def reference() -> Any:
    """AWS's service reference: by prefix, the actions with their kinds of resources, and these."""
    (path,) = [file for file in distribution("cfn-lint").files or () if file.name == "Policies.json"]
    return json.loads(Path(str(path.locate())).read_text())


def of(reference: Any, action: str) -> Any:
    """What the reference says about an action."""
    prefix, name = action.split(":")
    return reference[prefix]["Actions"][name.lower()]


class _Calls(ast.NodeVisitor):
    """The operations that a module calls, as `aws.SERVICE.METHOD`, or by a paginator or an alias of the client."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.found: set[tuple[str, str]] = set()

    def _service(self, node: ast.expr) -> str | None:
        match node:
            case ast.Attribute(value=ast.Name(id="aws") | ast.Attribute(attr="_aws" | "aws"), attr=name):
                return CLIENTS.get(name)
            case ast.Name(id=name):
                return self.aliases.get(name)
            case _:
                return None

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name) and (service := self._service(node.value)):
            self.aliases[node.targets[0].id] = service
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and (service := self._service(node.func.value)):
            method = node.func.attr
            if method in ("get_paginator", "get_waiter"):
                assert method == "get_paginator", "a waiter calls an operation of another name: teach the test which"
                assert isinstance(node.args[0], ast.Constant)
                method = str(node.args[0].value)
            self.found.add((service, method))
        self.generic_visit(node)


def called() -> Iterator[tuple[str, str]]:
    """Each module's operations, as actions of policies."""
    session = botocore.session.get_session()
    methods = {
        service: {xform_name(name): name for name in session.get_service_model(service).operation_names}
        for service in CLIENTS.values()
    }
    for path in sorted(ENGINE.glob("*.py")):
        calls = _Calls()
        calls.visit(ast.parse(path.read_text()))
        for service, method in sorted(calls.found):
            yield path.name, f"{PREFIXES.get(service, service)}:{methods[service][method]}"


def test_the_policy_allows_every_operation_that_the_engine_calls() -> None:
    needed = {(module, action) for module, action in called() if module not in NOT_FOR_CI}
    assert len(needed) > 25
    assert {(module, action) for module, action in needed if action not in allowed()} == set()


def test_the_policy_allows_nothing_that_the_engine_does_not_do() -> None:
    assert allowed() - {action for module, action in called() if module not in NOT_FOR_CI} - WITHOUT_CALL == set()


def test_the_modules_that_are_left_out_are_there() -> None:
    assert NOT_FOR_CI.keys() <= {path.name for path in ENGINE.glob("*.py")}


def test_every_action_exists(reference: Any) -> None:
    for action in allowed():
        assert action.split(":")[1].lower() in reference[action.split(":")[0]]["Actions"], action


def test_an_action_is_about_every_resource_only_where_aws_takes_no_other(reference: Any) -> None:
    for statement in STATEMENTS:
        kinds = {action: of(reference, action).get("Resources") for action in texts(statement["Action"])}
        if statement["Resource"] == "*":
            condition = WITH_ANY_RESOURCE.get(statement["Sid"])
            assert condition is None or condition in str(statement["Condition"])
            assert condition or not any(kinds.values()), f"{statement['Sid']}: {kinds}"
        else:
            assert all(kinds.values()), f"{statement['Sid']}: {kinds}"
    assert WITH_ANY_RESOURCE.keys() <= {statement["Sid"] for statement in STATEMENTS}


def test_each_resource_is_of_a_kind_that_one_of_its_actions_knows(reference: Any) -> None:
    for statement in STATEMENTS:
        known = {
            re.sub(r"\$\{\w+\}", "[^:]*", form)
            for action in texts(statement["Action"])
            for kind in of(reference, action).get("Resources", ())
            for form in reference[action.split(":")[0]]["Resources"][kind]["ARNFormats"]
        }
        for resource in texts(statement["Resource"]):
            assert resource == "*" or any(re.fullmatch(form, resource) for form in known), resource


def test_each_condition_on_tags_is_one_that_the_resource_knows(reference: Any) -> None:
    for statement in STATEMENTS:
        if "aws:ResourceTag" not in str(statement.get("Condition")):
            continue
        for action in texts(statement["Action"]):
            prefix = action.split(":")[0]
            for kind in of(reference, action)["Resources"]:
                keys = reference[prefix]["Resources"][kind].get("ConditionKeys", [])
                assert "aws:ResourceTag/${TagKey}" in keys, f"{action} on {kind}"


def matches(statement: str, arn: str) -> bool:
    """Whether a statement is about an ARN of the platform `team-a`, in which `*` stands for anything."""
    (found,) = [each for each in STATEMENTS if each["Sid"] == statement]
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
