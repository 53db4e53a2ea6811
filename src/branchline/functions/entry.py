"""The Lambda function: a webhook's delivery comes in by the API, and work by a call of its own or of the scheduler.

A forge waits for ten seconds at the most, and to remove something may take longer. So a delivery is only read and
checked here, and what there is to do is handed to another call of this very function, which Lambda repeats if it fails.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from branchline import reception
from branchline.engines.ecs.aws import Aws, asking
from branchline.errors import BranchlineError
from branchline.forges import payload
from branchline.forges.refusals import RefusedError, UnauthorisedError
from branchline.functions import jobs
from branchline.functions.configuration import Configuration, Reader
from branchline.printable import printable
from branchline.reception import Removal, Reply
from branchline.webhooks import Delivery

_RECENT = 2.0
"""Seconds for which what was read of the secret counts although a signature doesn't fit: whoever guesses costs us a
call every two seconds, not one each time."""


@dataclass(frozen=True, slots=True)
class _Account:
    """The function's own: the runtime has its region and credentials in environment variables."""

    region: str = ""
    profile: str = ""


@lru_cache(maxsize=1)
def _reader() -> Reader:
    return Reader(Aws(_Account(), attempts=5), os.environ)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """What Lambda calls. An API's event can't be taken for a job's: whatever somebody posts is in its `body`."""
    if "requestContext" in event:
        return _respond(event)
    try:
        return _work(event)
    except BranchlineError as error:
        # Lambda tells the log of the error anyway, but not what is to be done about it.
        log("failed", job=event.get("job"), error=error.message, remedy=error.remedy)
        raise


def _respond(event: dict[str, Any]) -> dict[str, Any]:
    forge = ""
    try:
        forge = payload.optional_text(payload.optional_object(event, "pathParameters") or {}, "forge")
        reply = _reply(forge, payload.unwrap(event))
    except RefusedError as error:
        reply = Reply(error.status, {"error": error.message})
    except BranchlineError as error:  # ours, not the forge's; it shows a delivery as failed, for somebody to send again
        log("failed", forge=forge, error=error.message, remedy=error.remedy)
        reply = Reply(503, {"error": "try again later"})
    log("answered", forge=forge, answer=reply.status, **reply.said)
    return {
        "statusCode": reply.status,
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": json.dumps(reply.said),
    }


def _reply(forge: str, delivery: Delivery) -> Reply:
    configuration = _reader().read()
    reply = _answer(forge, delivery, configuration)
    if reply.status == UnauthorisedError.status:
        newer = _reader().read(_RECENT)  # it may be signed with a secret that was made since: nobody sends it again
        reply = reply if newer is configuration else _answer(forge, delivery, newer)
    for removal in reply.removals:
        _hand_over(removal)
    return reply


def _answer(forge: str, delivery: Delivery, configuration: Configuration) -> Reply:
    return reception.answer(
        forge,
        delivery,
        configuration.secrets,
        platform=configuration.platform,
        fork_label=configuration.fork_label,
        door="AWS Lambda",
    )


def _hand_over(removal: Removal) -> None:
    """Each is a job of its own, so that none of them keeps another from being done."""
    with asking("can't hand the work over"):
        _reader().aws.functions.invoke(
            FunctionName=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            InvocationType="Event",
            Payload=json.dumps({"job": "remove", "removal": asdict(removal)}),
        )


def _work(event: dict[str, Any]) -> dict[str, Any]:
    configuration, aws = _reader().read(), _reader().aws
    match event:
        case {"job": "remove", "removal": {**raw}}:
            return jobs.remove(aws, configuration, _removal(raw), log)
        case {"job": "reap"}:
            return jobs.reap(aws, configuration, log)
        case _:
            raise BranchlineError(f"unknown job {event.get('job')!r}", remedy="run 'branchline aws bootstrap'")


def _removal(raw: dict[str, Any]) -> Removal:
    """As `_hand_over` sent it."""
    return Removal(raw["forge"], tuple(raw["repository"]), raw["branch"], raw["delivery"])


def log(what: str, **details: object) -> None:
    """One line of JSON in the function's log, as CloudWatch Logs Insights reads it."""
    print(printable(json.dumps({"what": what, **details}, default=str)))  # noqa: T201 - the function's log
