"""The stack that removes environments whose branch is gone: where it is, and its code."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace

from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, stacks
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.package import function_code
from branchline.engines.ecs.webhook_secret import Document, read_secret, write_secret
from branchline.errors import ConfigurationError
from branchline.signing import new_secret

_PATIENCE = 5 * 60
"""Seconds for Lambda to take new code."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """What the stack made."""

    endpoint: str
    """The API's URL, below which forges post."""
    function: str
    secret: str
    """The secret's ARN."""
    queue: str
    """The URL of the queue of what failed."""


def find(aws: Aws, platform: str) -> Webhook | None:
    """What the stack made, or None where there is no stack."""
    found = stacks.find(aws, names.webhook_stack(platform), platform)
    outputs = {item.get("OutputKey", ""): item.get("OutputValue", "") for item in (found or {}).get("Outputs", [])}
    if not outputs:
        return None
    return Webhook(outputs["Endpoint"], outputs["Function"], outputs["Secret"], outputs["FailedQueue"])


def require(aws: Aws, platform: str) -> Webhook:
    """What the stack made.

    Raises:
        ConfigurationError: there is no stack.
    """
    found = find(aws, platform)
    if found is None:
        raise ConfigurationError(
            f"the platform {platform!r} takes no webhooks yet", remedy="run 'branchline aws bootstrap --webhook'"
        )
    return found


def equip(aws: Aws, webhook: Webhook, told: Document, cancellation: Cancellation) -> None:
    """Gives the function this Branchline's code, and the operator's settings; the secrets that it has stay.

    Raises:
        AwsError: AWS refuses.
        TimedOutError: Lambda doesn't take the code.
    """
    _upload(aws, webhook.function, cancellation)
    now = read_secret(aws, webhook.secret)
    wanted = replace(told, secrets=now.secrets or (new_secret(),))
    if wanted != now:
        write_secret(aws, webhook.secret, wanted)


def has_our_code(aws: Aws, function: str) -> bool:
    """Whether the function's code is this Branchline's."""
    with asking(f"can't look at the function {function}"):
        now = aws.functions.get_function_configuration(FunctionName=function).get("CodeSha256", "")
    return now == base64.b64encode(hashlib.sha256(function_code()).digest()).decode()


def _upload(aws: Aws, function: str, cancellation: Cancellation) -> None:
    if has_our_code(aws, function):
        return
    what = f"can't give the function {function} its code"
    with asking(what):
        aws.functions.update_function_code(FunctionName=function, ZipFile=function_code())
    for _ in stacks.looks(f"the function {function} has not taken its code", cancellation, _PATIENCE):
        with asking(what):
            state = aws.functions.get_function_configuration(FunctionName=function)
        if state.get("LastUpdateStatus") == "Failed":
            raise AwsError(f"{what}: {state.get('LastUpdateStatusReason', '')}")
        if state.get("LastUpdateStatus") != "InProgress":
            return
