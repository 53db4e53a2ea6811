"""Why a task stopped or isn't healthy, in the user's words. Pure: what was asked of AWS is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from branchline.engines.ecs import names

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import TaskTypeDef

_KILLED = 137
"""128 + SIGKILL: what the kernel's memory killer leaves, among others."""
_WEATHER = ("SpotInterruption", "TerminationNotice", "ServiceSchedulerInitiated", "UserInitiated")
"""Stop codes that say nothing against the release.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html"""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a release doesn't serve."""

    message: str
    remedy: str = ""
    printed: bool = True
    """Whether what the container printed may tell more."""


def of_task(task: TaskTypeDef) -> Cause | None:
    """Why a stopped task speaks against its release; None where it doesn't, as after a Spot interruption."""
    reason = task.get("stoppedReason", "")
    lowered = reason.lower()
    containers = [item for item in task.get("containers", []) if item.get("name") == names.CONTAINER]
    detail = next(filter(None, (item.get("reason") for item in containers)), "")
    code = next((item["exitCode"] for item in containers if "exitCode" in item), None)
    said = f"{reason} {detail}".lower()
    if cause := _of_words(said, detail or reason):
        return cause
    if "elb health checks" in lowered or "container health checks" in lowered:
        return None  # the target's own health says more
    if code is not None and task.get("stopCode") not in _WEATHER:
        killed = " (killed: it may need more memory than [ecs] memory gives it)" if code == _KILLED else ""
        return Cause(
            f"its container ended with exit code {code}{killed}",
            remedy="see the lines above that it printed last; it must go on running, in the foreground",
        )
    if task.get("stopCode") == "TaskFailedToStart":
        return Cause(f"its task could not be started: {detail or reason}", printed=False)
    return None


def _of_words(said: str, original: str) -> Cause | None:
    if "cannotpull" in said or "image manifest" in said or "pull image" in said:
        return Cause(
            f"its image can't be pulled: {original}",
            remedy="the execution role must be allowed to read the registry, and the tasks must reach it",
            printed=False,
        )
    if "outofmemory" in said or "out of memory" in said:
        return Cause(
            "its container ran out of memory and was killed", remedy="raise memory under [ecs] in branchline.toml"
        )
    if "resourceinitializationerror" in said and ("secret" in said or "ssm" in said or "parameter" in said):
        return Cause(
            f"a secret can't be read: {original}",
            remedy="check the names under [secrets], and that the execution role may read them",
            printed=False,
        )
    if "resourceinitializationerror" in said:
        return Cause(
            f"its task could not be set up: {original}",
            remedy="the tasks' subnets must reach ECR, CloudWatch Logs and the secrets",
            printed=False,
        )
    return None


def lacks_capacity(events: Sequence[str]) -> str:
    """The event that says that there is nowhere to run a task now, or ''.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    signs = ("capacity is unavailable", "unable to place a task", "no container instance met", "insufficient capacity")
    return next((event for event in events if any(sign in event.lower() for sign in signs)), "")
