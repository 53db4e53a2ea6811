"""A CloudFormation stack, brought to what a template and its parameters say: by a change set, and again and again.

The stack's events tell how it goes. They, and not its status, decide when an operation has ended: a status may be read
late, but an event with the operation's token belongs to it.
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_StackEvent.html
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.engines.ecs import tags, templates
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.errors import ConfigurationError, TimedOutError

if TYPE_CHECKING:
    from types_boto3_cloudformation.type_defs import StackEventTypeDef, StackTypeDef

Outcome = Literal["created", "updated", "unchanged"]

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 3.0
"""Seconds between two looks at a stack; each wait is half as long again as the one before."""
_PATIENCE = 60 * 60
"""Seconds. The slowest of what our stacks have is a certificate, whose domain is usually proven within minutes."""
_REVIEWED = "REVIEW_IN_PROGRESS"
"""There is nothing but a change set that nobody has executed."""
_NEVER_MADE = frozenset({"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"})
"""A stack in such a state can only be deleted."""
_DONE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
_STUCK = frozenset({"UPDATE_FAILED", "UPDATE_ROLLBACK_FAILED"})
KIND = "AWS::CloudFormation::Stack"


@dataclass(frozen=True, slots=True)
class Stack:
    """What a stack should be."""

    name: str
    platform: str
    """Whose it is, by its tag."""
    template: templates.Template
    parameters: Mapping[str, str]
    """Any others keep the value that they have, or the template's default."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Something that happened to a resource of a stack, or to the stack itself."""

    stack: str
    resource: str
    """Its name in the template."""
    kind: str
    """Such as `AWS::ECS::Cluster`."""
    status: str
    """Such as `CREATE_IN_PROGRESS`."""
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set would do to a resource."""

    action: str
    """`Add`, `Modify`, `Remove` and a few more."""
    resource: str
    kind: str
    replaces: bool
    """Whether the resource may go and another come in its place."""


Report = Callable[[Progress], None]


def find(aws: Aws, name: str, platform: str) -> StackTypeDef | None:
    """The stack, or None where there is none.

    Raises:
        ConfigurationError: there is one of that name, which isn't the platform's.
    """
    found = _described(aws, name)
    if found is not None and (owner := tags.read(found.get("Tags", [])).get(labels.PLATFORM)) != platform:
        whose = f"belongs to the platform {owner!r}" if owner else f"doesn't carry the tag {labels.PLATFORM}"
        raise ConfigurationError(
            f"the stack {name} exists and {whose}, so it is left alone", remedy="choose another name for the platform"
        )
    return found


def deploy(aws: Aws, stack: Stack, report: Report, cancellation: Cancellation) -> Outcome:
    """Makes the stack, or changes what isn't as it should be, and waits for the end of that.

    An operation that is under way is waited for first. What is left of a creation that failed is removed, and the stack
    made anew.

    Raises:
        AwsError: a resource was refused; says the first one's reason. CloudFormation has undone the rest.
        ConfigurationError: the stack isn't ours.
        TimedOutError: it takes too long; AWS goes on with it.
    """
    found = _settled(aws, stack.name, stack.platform, report, cancellation)
    if found is not None and found["StackStatus"] in _NEVER_MADE:
        delete(aws, stack.name, stack.platform, report, cancellation)
        found = None
    if found is not None and found["StackStatus"] in _STUCK:
        raise AwsError(
            f"the stack {stack.name} is in the state {found['StackStatus']}, in which it can't be changed",
            remedy="see its events in the CloudFormation console; 'Continue update rollback' there frees it",
        )
    if found is not None and _is(aws, found, stack):
        return "unchanged"
    change_set, changes = _change_set(aws, stack, found, cancellation)
    if not changes:
        return "unchanged"
    stack_id = change_set.stack
    token = _token()
    with asking(f"can't execute the change set of the stack {stack.name}"):
        aws.cloudformation.execute_change_set(ChangeSetName=change_set.id, StackName=stack_id, ClientRequestToken=token)
    status, failure = _follow(aws, stack_id, token, report, cancellation)
    if status not in _DONE:
        raise AwsError(
            f"the stack {stack.name} failed: {failure}",
            remedy="what it had made was undone; mend the cause and run it again",
        )
    return "created" if status == "CREATE_COMPLETE" else "updated"


def preview(aws: Aws, stack: Stack, cancellation: Cancellation) -> list[Change]:
    """What `deploy` would do, with nothing left of the question.

    Raises:
        ConfigurationError: the stack isn't ours, or is being changed now.
    """
    found = find(aws, stack.name, stack.platform)
    if found is not None and found["StackStatus"] in _NEVER_MADE:  # it takes no change set
        return [Change("Remove", stack.name, KIND, False), Change("Add", stack.name, KIND, False)]
    if found is not None and _in_progress(found["StackStatus"]):
        raise ConfigurationError(
            f"the stack {stack.name} is being changed now ({found['StackStatus']})", remedy="run it again afterwards"
        )
    if found is not None and _is(aws, found, stack):
        return []
    new = found is None or found["StackStatus"] == _REVIEWED
    try:
        change_set, changes = _change_set(aws, stack, found, cancellation)
        if changes and not new:
            _drop(aws, change_set)
        return changes
    finally:
        if new:
            delete(aws, stack.name, stack.platform, _nobody, Cancellation())


def delete(aws: Aws, name: str, platform: str, report: Report, cancellation: Cancellation) -> bool:
    """Removes the stack with all that it has, and waits for that; returns whether there was one.

    Raises:
        AwsError: a resource can't be removed; says the first one's reason.
        ConfigurationError: the stack isn't ours.
        TimedOutError: it takes too long; AWS goes on with it.
    """
    found = _settled(aws, name, platform, report, cancellation)
    if found is None:
        return False
    stack_id = found.get("StackId", name)  # by which it is still known when it is gone
    token = _token()
    with asking(f"can't delete the stack {name}"):
        aws.cloudformation.delete_stack(StackName=stack_id, ClientRequestToken=token)
    status, failure = _follow(aws, stack_id, token, report, cancellation)
    if status != "DELETE_COMPLETE":
        raise AwsError(
            f"the stack {name} couldn't be deleted: {failure}", remedy="remove what holds it and run it again"
        )
    return True


def _nobody(_: Progress) -> None:
    """Hears nothing."""


def _described(aws: Aws, name: str) -> StackTypeDef | None:
    try:
        with asking(f"can't read the stack {name}"):
            return aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except AwsError as error:
        if error.code == "ValidationError" and "does not exist" in error.message:
            return None
        raise


def _is(aws: Aws, found: StackTypeDef, stack: Stack) -> bool:
    """Whether the stack was last brought to this very template with these very parameters.

    A change set would tell that too, but takes CloudFormation some seconds.
    """
    if found["StackStatus"] not in _DONE:
        return False
    now = _parameters(found)
    with asking(f"can't read the template of the stack {stack.name}"):
        text: object = aws.cloudformation.get_template(StackName=stack.name, TemplateStage="Original")["TemplateBody"]
    return now == now | {**stack.parameters} and str(text).strip() == templates.text(stack.template).strip()


def _parameters(stack: StackTypeDef) -> dict[str, str]:
    return {item.get("ParameterKey", ""): item.get("ParameterValue", "") for item in stack.get("Parameters", [])}


def _in_progress(status: str) -> bool:
    return status.endswith("_IN_PROGRESS") and status != _REVIEWED


def _settled(aws: Aws, name: str, platform: str, report: Report, cancellation: Cancellation) -> StackTypeDef | None:
    """The stack, once nothing is being done to it: a command that was interrupted left AWS at work."""
    found = find(aws, name, platform)
    if found is None or not _in_progress(found["StackStatus"]):
        return found
    stack_id = found.get("StackId", name)
    token = next(_events(aws, stack_id)).get("ClientRequestToken", "")
    if token:
        _follow(aws, stack_id, token, report, cancellation)
    for _ in looks(f"the stack {name} isn't done", cancellation):
        found = find(aws, name, platform)
        if found is None or not _in_progress(found["StackStatus"]):
            return found
    raise AssertionError("looks ends with an error")


@dataclass(frozen=True, slots=True)
class _ChangeSet:
    """By their ARNs, which no later one of the same name has."""

    id: str
    stack: str


def _change_set(
    aws: Aws, stack: Stack, found: StackTypeDef | None, cancellation: Cancellation
) -> tuple[_ChangeSet, list[Change]]:
    """A change set, ready to be executed, and what it would do. One that does nothing is removed again."""
    new = found is None or found["StackStatus"] == _REVIEWED
    now = {} if found is None or new else _parameters(found)
    with asking(f"can't make a change set of the stack {stack.name}"):
        made = aws.cloudformation.create_change_set(
            StackName=stack.name,
            ChangeSetName=f"branchline-{secrets.token_hex(4)}",
            ChangeSetType="CREATE" if new else "UPDATE",
            TemplateBody=templates.text(stack.template),
            Parameters=[
                *({"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()),
                *({"ParameterKey": key, "UsePreviousValue": True} for key in now if key not in stack.parameters),
            ],
            Tags=[{"Key": labels.PLATFORM, "Value": stack.platform}],
            Capabilities=["CAPABILITY_IAM"],
        )
    change_set = _ChangeSet(made.get("Id", ""), made.get("StackId", ""))
    try:
        changes = _changes(aws, stack, change_set, cancellation)
    except BaseException:
        _drop(aws, change_set)
        raise
    if not changes:
        _drop(aws, change_set)
    return change_set, changes


def _changes(aws: Aws, stack: Stack, change_set: _ChangeSet, cancellation: Cancellation) -> list[Change]:
    """What the change set does, once CloudFormation has found that out."""
    what = f"can't read the change set of the stack {stack.name}"
    for _ in looks(f"the change set of the stack {stack.name} isn't ready", cancellation):
        with asking(what):
            found = aws.cloudformation.describe_change_set(ChangeSetName=change_set.id, StackName=change_set.stack)
        if found["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            continue
        if found["Status"] == "FAILED":
            reason = found.get("StatusReason", "")
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return []
            raise AwsError(f"{what}: {reason}", remedy="mend that and run it again")
        items = list(found.get("Changes", []))
        while token := found.get("NextToken"):
            with asking(what):
                found = aws.cloudformation.describe_change_set(
                    ChangeSetName=change_set.id, StackName=change_set.stack, NextToken=token
                )
            items += found.get("Changes", [])
        return [
            Change(
                action=change.get("Action", ""),
                resource=change.get("LogicalResourceId", ""),
                kind=change.get("ResourceType", ""),
                replaces=change.get("Replacement", "False") != "False",
            )
            for change in (item.get("ResourceChange", {}) for item in items)
        ]
    raise AssertionError("looks ends with an error")


def _drop(aws: Aws, change_set: _ChangeSet) -> None:
    with asking("can't delete a change set"):
        aws.cloudformation.delete_change_set(ChangeSetName=change_set.id, StackName=change_set.stack)


def _events(aws: Aws, stack_id: str) -> Iterator[StackEventTypeDef]:
    """The stack's events, the latest first, read as far as they are asked for."""
    with asking(f"can't read the events of the stack {stack_id}"):
        for page in aws.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id):
            yield from page["StackEvents"]


def _token() -> str:
    """Which all events of one operation carry."""
    return f"branchline-{secrets.token_hex(8)}"


def _follow(aws: Aws, stack_id: str, token: str, report: Report, cancellation: Cancellation) -> tuple[str, str]:
    """Reports what the operation does to the stack, until it has ended.

    Returns the stack's status at the end, and the first resource's reason where something failed.
    """
    failure, seen = "", set[str]()
    for _ in looks(f"the stack {_name(stack_id)} isn't done", cancellation):
        ended = ""
        for event in reversed(
            list(takewhile(lambda event: event.get("ClientRequestToken") == token, _events(aws, stack_id)))
        ):
            if event["EventId"] in seen:
                continue
            seen.add(event["EventId"])
            progress = Progress(
                stack=event["StackName"],
                resource=event.get("LogicalResourceId", ""),
                kind=event.get("ResourceType", ""),
                status=event.get("ResourceStatus", ""),
                reason=event.get("ResourceStatusReason", ""),
                at=event["Timestamp"],
            )
            report(progress)
            itself = event.get("PhysicalResourceId") == stack_id
            if progress.status.endswith("_FAILED") and not failure and not itself and not _consequence(progress):
                failure = f"{progress.resource} ({progress.kind}): {progress.reason}"
            if itself and not _in_progress(progress.status):
                ended, failure = progress.status, failure or progress.reason or progress.status
        if ended:
            return ended, failure
    raise AssertionError("looks ends with an error")


def _consequence(progress: Progress) -> bool:
    """Whether a resource failed only because another had."""
    return "cancelled" in progress.reason


def _name(stack_id: str) -> str:
    """The name in a stack's ARN, `arn:…:stack/NAME/UUID`."""
    return stack_id.split("/")[1]


def looks(reason: str, cancellation: Cancellation, patience: float = _PATIENCE) -> Generator[None]:
    """Each turn is a look at AWS, with ever longer waits between them.

    Raises:
        TimedOutError: with the reason, after `patience` seconds.
    """
    deadline, wait = time.monotonic() + patience, _FIRST_WAIT
    while True:
        yield
        if time.monotonic() > deadline:
            raise TimedOutError(
                f"{reason} after {patience / 60:.0f} minutes",
                remedy="AWS goes on with it: see the console for what it waits for, and run it again to go on",
            )
        cancellation.wait(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT)
