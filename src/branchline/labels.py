"""The labels (Docker) or tags (AWS) that hold all of Branchline's state. No other module spells one out."""

from __future__ import annotations

import re

PLATFORM = "branchline:platform"
PROJECT = "branchline:project"
BRANCH = "branchline:branch"
SLUG = "branchline:slug"
HOST = "branchline:host"
PORT = "branchline:port"
COMMIT = "branchline:commit"
RELEASE = "branchline:release"
IMAGE = "branchline:image"
CREATED = "branchline:created"
"""When the environment was made, not the release: each release carries it on to the next."""
RELEASED = "branchline:released"
EXPIRES = "branchline:expires"
STATE = "branchline:state"
REPOSITORY = "branchline:repository"
REASON = "branchline:reason"
HEALTH = "branchline:health"
"""The release's health settings as JSON, so that it can be woken or rolled back to without its repository."""
GRACE = "branchline:grace"
STOP_TIMEOUT = "branchline:stop-timeout"
SECRETS = "branchline:secrets"
"""The names, never the values, of the variables whose values are not to be shown."""
CONFIGURATION = "branchline:configuration"
"""A digest of all that the release was started with, so that an unchanged deploy can be told from a changed one."""
TASK = "branchline:task"
"""On an ECS service: the task definition's revision that the other tags describe."""
PREVIOUS = "branchline:previous"
"""On an ECS service: the revision that served before."""
RULE = "branchline:rule"
"""On an ECS service: the listener rule that routes its host to it."""
RECORD = "branchline:record"
"""On an ECS service: where its DNS record is, and what it points to."""


def branch_value(branch: str) -> str:
    r"""The branch as a label's value. Git allows bytes that aren't UTF-8; they become `\xff`, which no branch may hold.

    A backslash is illegal in a branch's name (git-check-ref-format(1)), so nothing is lost or mistaken.
    """
    return branch.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def branch_name(value: str) -> str:
    """The branch that `branch_value` made the label from."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found.group(1).decode()), value.encode())
    return raw.decode("utf-8", "surrogateescape")
