"""What policies allow and what code asks of AWS, both in AWS's own words.

AWS's service reference, as cfn-lint ships it, says which resources and condition keys each action knows.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name
from cfnlint.decode import decode

from branchline.engines.ecs import templates

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
    "functions": "lambda",
    "secrets": "secretsmanager",
    "queues": "sqs",
}
"""The services of `Aws`, by its attributes."""
_PREFIXES = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
"""What a service is called in policies, where that isn't its name in boto3."""
_ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction"}
"""Operations whose permission is called otherwise."""
_ARNS = {
    "FailedQueue": "arn:aws:sqs:${Region}:${Account}:branchline-${Platform}-webhook-failed",
    "Function": "arn:aws:lambda:${Region}:${Account}:function:branchline-${Platform}-webhook",
    "Secret": "arn:aws:secretsmanager:${Region}:${Account}:secret:Secret-1ABC",
}
"""Of resources that templates refer to."""
_PSEUDO = {"${AWS::Partition}": "aws", "${AWS::Region}": "${Region}", "${AWS::AccountId}": "${Account}"}


def texts(value: str | list[str]) -> list[str]:
    """One or several, as policies have them."""
    return [value] if isinstance(value, str) else value


def actions(statements: list[Any]) -> set[str]:
    """All that is allowed somewhere."""
    return {action for statement in statements for action in texts(statement["Action"])}


@cache
def service_reference() -> Any:
    """By prefix, the actions with their kinds of resources, and these."""
    (path,) = [file for file in distribution("cfn-lint").files or () if file.name == "Policies.json"]
    return json.loads(Path(str(path.locate())).read_text())


def known_of(action: str) -> Any:
    """What the reference says about an action."""
    prefix, name = action.split(":")
    return service_reference()[prefix]["Actions"][name.lower()]


def resources_of(action: str) -> list[Any]:
    """What the reference says about each kind of resource that the action knows."""
    known = {
        kind.lower(): said for kind, said in service_reference()[action.split(":", maxsplit=1)[0]]["Resources"].items()
    }
    return [known[kind.lower()] for kind in known_of(action).get("Resources", ())]


def template(name: str) -> Any:
    """A template with its short forms written out, such as `Fn::Sub`."""
    found, problems = decode(str(Path(str(resources.files(templates))) / f"{name}.yaml"))
    assert not problems
    return found


def statements_of_role(name: str, role: str) -> list[Any]:
    """What a role of a template allows, with every option, and ARNs as texts with placeholders."""
    found = _plain(template(name)["Resources"][role]["Properties"]["Policies"])
    return [statement for policy in found for statement in policy["PolicyDocument"]["Statement"]]


def _plain(value: Any) -> Any:
    """The value, with what CloudFormation would fill in."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Fn::If": [_, then, _]}:
            return _plain(then)
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{AWS::\w+\}", lambda match: _PSEUDO[match[0]], text)
        case {"Fn::GetAtt": [name, "Arn"]}:
            return _ARNS[name]
        case {"Ref": name}:
            return _ARNS.get(name, f"${{{name}}}")
        case _:
            return {key: _plain(item) for key, item in value.items()}


class Calls(ast.NodeVisitor):
    """The operations that code calls, as `aws.SERVICE.METHOD`, or by a paginator or an alias of the client."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.found: set[tuple[str, str]] = set()

    @property
    def actions(self) -> set[str]:
        """As policies call them."""
        found = {f"{_PREFIXES.get(service, service)}:{_methods(service)[method]}" for service, method in self.found}
        return {_ACTIONS.get(action, action) for action in found}

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


@cache
def _methods(service: str) -> dict[str, str]:
    """A service's operations, by boto3's names."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return {xform_name(name): name for name in names}
