"""Whether the caller may do what deploys need, by IAM's policy simulator.

deploy/iam/ci-policy.json is what a caller should be given; here is the same as questions about this platform's
resources, and a test holds the two together. The simulator knows the caller's policies, its permissions boundary and
the organization's policies, but not those of the session.
https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from branchline import labels, naming
from branchline.checks import Check
from branchline.engines.ecs import names
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base
from branchline.environment import EnvironmentId

if TYPE_CHECKING:
    from types_boto3_iam.type_defs import ContextEntryTypeDef

_SHOWN = 8
_AT_ONCE = 5
"""Questions; IAM has one rate for the whole account."""
_POLICY = "deploy/iam/ci-policy.json; docs/how-to/aws-ci.md shows how"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks AWS, with which account."""

    arn: str
    account: str
    region: str

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`."""
        return self.arn.split(":")[1]

    @property
    def name(self) -> str:
        """The ARN's last part, such as `assumed-role/branchline-ci/job-17`."""
        return self.arn.split(":", 5)[5]


@dataclass(frozen=True, slots=True)
class Question:
    """Actions that may be asked about together: on the same resource, in the same circumstances."""

    resource: str
    actions: tuple[str, ...]
    context: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the request would say, by condition key."""


def check(aws: Aws, caller: Caller, base: Base) -> list[Check]:
    """Whether the caller may do all of it; says what is missing, or what could not be found out."""
    if caller.name == "root":
        return [
            Check(
                "permissions",
                "warning",
                "this is the account's root user, who may do everything",
                f"make a role that may do what is needed: {_POLICY}",
            )
        ]
    try:
        principal = _principal(aws, caller)
        questions = tuple(wanted(caller, base))
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            answers = list(pool.map(partial(_denied, aws, principal), questions))
    except AwsError as error:
        return [
            Check(
                "permissions",
                "warning",
                f"not checked: {error.message}",
                "let an administrator look: aws iam simulate-principal-policy --policy-source-arn"
                f" {_guessed(caller)} --action-names ACTION ... with the actions of deploy/iam/ci-policy.json",
            )
        ]
    count = len({action for each in questions for action in each.actions})
    listed = sorted({action for denied in answers for action in denied})
    if not listed:
        return [Check("permissions", "ok", f"{principal} has all {count} that deploys need")]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return [
        Check(
            "permissions",
            "failure",
            f"{principal} lacks {len(listed)} of {count} on this platform: {', '.join(listed[:_SHOWN])}{more}",
            f"give it the policy {_POLICY}",
        )
    ]


def _principal(aws: Aws, caller: Caller) -> str:
    """The user or role whose policies decide. A session's ARN lacks the path that the role's own may have."""
    kind, _, rest = caller.name.partition("/")
    if kind != "assumed-role":
        return caller.arn
    try:
        with asking(f"can't read the role {rest}"):
            return aws.iam.get_role(RoleName=rest.partition("/")[0])["Role"]["Arn"]
    except AwsError:
        return _guessed(caller)


def _guessed(caller: Caller) -> str:
    """The role's ARN, if it has no path."""
    kind, _, rest = caller.name.partition("/")
    if kind != "assumed-role":
        return caller.arn
    return f"arn:{caller.partition}:iam::{caller.account}:role/{rest.partition('/')[0]}"


def _denied(aws: Aws, principal: str, question: Question) -> list[str]:
    try:
        return _simulated(aws, principal, question)
    except AwsError as error:
        if error.code != "InvalidInput" or len(question.actions) == 1:
            raise
    # "… require different authorization information": such actions are asked about one by one.
    apart = (Question(question.resource, (action,), question.context) for action in question.actions)
    return [action for each in apart for action in _simulated(aws, principal, each)]


def _simulated(aws: Aws, principal: str, question: Question) -> list[str]:
    context: list[ContextEntryTypeDef] = [
        {
            "ContextKeyName": key,
            "ContextKeyType": "stringList" if key.startswith("route53:") else "string",
            "ContextKeyValues": [value],
        }
        for key, value in question.context.items()
    ]
    with asking(f"can't ask IAM what {principal} may do"):
        pages = aws.iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=principal,
            ActionNames=list(question.actions),
            ResourceArns=[question.resource],
            ContextEntries=context,
        )
        results = [result for page in pages for result in page.get("EvaluationResults", [])]
    return [result["EvalActionName"] for result in results if result["EvalDecision"] != "allowed"]


def wanted(caller: Caller, base: Base) -> Iterator[Question]:
    """All that deploying and destroying an environment of the platform needs."""
    platform, environment = base.platform, EnvironmentId(base.platform, "shop", "main")
    cluster = names.cluster(platform)
    requested = {f"aws:RequestTag/{labels.PLATFORM}": platform}
    present = {f"aws:ResourceTag/{labels.PLATFORM}": platform}

    def arn(service: str, resource: str) -> str:
        return f"arn:{caller.partition}:{service}:{caller.region}:{caller.account}:{resource}"

    for stack in (names.base_stack(platform), names.shard_stack(platform, 2)):
        yield Question(arn("cloudformation", f"stack/{stack}/1"), ("cloudformation:DescribeStacks",))
    yield Question(arn("dynamodb", f"table/{names.lease_table(platform)}"), _LEASE)

    yield Question("*", ("ecr:GetAuthorizationToken",))
    yield Question(arn("ecr", "repository/*"), ("ecr:DescribeRepositories",))
    repository = arn("ecr", f"repository/{naming.image_repository(platform, environment.project)}")
    yield Question(repository, _IMAGES)
    yield Question(repository, ("ecr:CreateRepository", "ecr:TagResource"), requested)

    yield Question(arn("logs", f"log-group:{names.log_group(environment)}"), _LOGS)
    yield Question("*", ("logs:DescribeLogGroups",))

    service = arn("ecs", f"service/{cluster}/{names.service(environment)}")
    definition = arn("ecs", f"task-definition/{names.family(environment)}:1")
    yield Question(service, ("ecs:DescribeServices",))
    yield Question(arn("ecs", f"task/{cluster}/1"), ("ecs:DescribeTasks",))
    yield Question(arn("ecs", f"container-instance/{cluster}/1"), ("ecs:DescribeContainerInstances",))
    yield Question("*", ("ecs:ListServices", "ecs:ListTasks"), {"ecs:cluster": arn("ecs", f"cluster/{cluster}")})
    yield Question(service, ("ecs:CreateService",), requested)
    yield Question(service, ("ecs:DeleteService", "ecs:TagResource", "ecs:UpdateService"), present)
    yield Question(definition, ("ecs:RegisterTaskDefinition",), requested)
    for made, action in ((service, "CreateService"), (definition, "RegisterTaskDefinition")):
        yield Question(made, ("ecs:TagResource",), {"ecs:CreateAction": action, **requested})
    yield Question(definition, ("ecs:DeleteTaskDefinitions",), present)
    yield Question("*", _DEFINITIONS)
    for role in (base.execution_role, base.task_role):
        yield Question(role, ("iam:PassRole",), {"iam:PassedToService": "ecs-tasks.amazonaws.com"})

    group = arn("elasticloadbalancing", f"targetgroup/{names.target_group(environment)}/1")
    listener = base.load_balancer.listener
    rule = f"{listener.replace(':listener/', ':listener-rule/')}/1"
    yield Question("*", _ROUTING)
    yield Question(group, ("elasticloadbalancing:CreateTargetGroup",), requested)
    yield Question(listener, ("elasticloadbalancing:CreateRule",), requested)
    for made, action in ((group, "CreateTargetGroup"), (rule, "CreateRule")):
        created = {"elasticloadbalancing:CreateAction": action, **requested}
        yield Question(made, ("elasticloadbalancing:AddTags",), created)
    yield Question(group, _GROUPS, present)
    yield Question(rule, ("elasticloadbalancing:AddTags", "elasticloadbalancing:DeleteRule"), present)
    if base.hosted_zone and (base.dns == "record" or base.shards > 1):
        record = {
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": f"main--shop.{base.domain}",
            "route53:ChangeResourceRecordSetsRecordTypes": "A",
            "route53:ChangeResourceRecordSetsActions": "UPSERT",
        }
        zone = f"arn:{caller.partition}:route53:::hostedzone/{base.hosted_zone}"
        yield Question(zone, ("route53:ChangeResourceRecordSets",), record)


_LEASE = ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem")
_IMAGES = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchDeleteImage",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:DescribeImages",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:ListImages",
    "ecr:ListTagsForResource",
    "ecr:PutImage",
    "ecr:PutLifecyclePolicy",
    "ecr:UploadLayerPart",
)
_LOGS = (
    "logs:CreateLogGroup",
    "logs:DeleteLogGroup",
    "logs:DescribeLogStreams",
    "logs:GetLogEvents",
    "logs:ListTagsForResource",
    "logs:PutRetentionPolicy",
    "logs:TagResource",
)
_DEFINITIONS = (
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListTaskDefinitionFamilies",
    "ecs:ListTaskDefinitions",
)
_ROUTING = (
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
)
_GROUPS = (
    "elasticloadbalancing:AddTags",
    "elasticloadbalancing:DeleteTargetGroup",
    "elasticloadbalancing:ModifyTargetGroup",
    "elasticloadbalancing:ModifyTargetGroupAttributes",
)
