"""GitLab's project and group webhooks: https://docs.gitlab.com/user/project/integrations/webhook_events/"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Sequence

from branchline.forges.payload import (
    Object,
    event,
    identifier,
    nested,
    number,
    objects,
    optional_object,
    optional_text,
    text,
)
from branchline.forges.reading import is_fork, is_gone, not_needed, pull_request, ref_moved, urls
from branchline.forges.signature import encoded, equal
from branchline.webhooks import Action, Delivery, Message, Ping

PING = "Branchline Ping"
"""For whoever sends by hand: GitLab itself has none, and tests a hook with the latest push."""

_ACTIONS: dict[str, Action] = {"open": "opened", "reopen": "reopened", "close": "closed", "merge": "closed"}
_SIGNING_TOKEN = "whsec_"  # noqa: S105 - how one starts
_TOLERANCE = 300.0
"""Seconds between a signature and its arrival, by both clocks, as in the libraries of Standard Webhooks."""


def verify(delivery: Delivery, secrets: Sequence[str]) -> bool:
    """Whether the delivery holds one of the secrets as its token, or is signed with one that is a signing token.

    GitLab has both. The secret token comes as it is, in X-Gitlab-Token. A signing token, `whsec_` and a key in base64,
    signs as in Standard Webhooks: https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944 and
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    token = delivery.headers.get("x-gitlab-token", "")
    valid = [equal(token, secret) for secret in secrets if secret]
    return any(valid) or _is_signed(delivery, secrets)


def _is_signed(delivery: Delivery, secrets: Sequence[str]) -> bool:
    sent = delivery.headers.get("webhook-timestamp", "")
    if not (sent.isascii() and sent.isdecimal() and len(sent) <= 12 and abs(time.time() - int(sent)) <= _TOLERANCE):
        return False
    signed = encoded(f"{delivery.headers.get('webhook-id', '')}.{sent}.") + delivery.body
    given = delivery.headers.get("webhook-signature", "").split(" ")
    expected = [
        f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
        for secret in secrets
        if (key := _key(secret))
    ]
    return any([equal(one, other) for one in given for other in expected])  # noqa: C419 - all of them, always


def _key(secret: str) -> bytes:
    """The key in a signing token; empty where the secret is none."""
    if not secret.startswith(_SIGNING_TOKEN):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(_SIGNING_TOKEN), validate=True)
    except (binascii.Error, ValueError):
        return b""


def delivery_id(delivery: Delivery) -> str:
    """What GitLab calls the delivery; a repetition has the same. Older ones tell only the event's id."""
    return identifier(delivery, "idempotency-key", "x-gitlab-event-uuid")


def read(delivery: Delivery, payload: Object) -> list[Message]:
    """What the delivery says. Several labels may have been given at once: that is a message for each.

    Raises:
        MalformedError: it is not what GitLab sends.
    """
    match event(delivery, "x-gitlab-event"):
        case "Push Hook":
            after = text(payload, "after")
            return [ref_moved(_repository(payload), text(payload, "ref"), after, gone=is_gone(after))]
        case "Merge Request Hook":
            return _merge_request(payload)
        case other if other == PING:
            return [Ping()]
        case other:  # tags are an event of their own; system hooks are about a whole instance
            return [not_needed(other)]


def _repository(payload: Object) -> tuple[str, ...]:
    return urls(nested(payload, "project"), "git_http_url", "git_ssh_url")


def _merge_request(payload: Object) -> list[Message]:
    subject = nested(payload, "object_attributes")
    said = optional_text(subject, "action")
    action = _ACTIONS.get(said)
    labels = [""]
    if said == "update" and optional_text(subject, "oldrev"):
        # Never also as labelled, whatever `changes` says: with new commits, some versions list labels that were there
        # already as new, and the label would allow commits that nobody has looked at.
        # https://gitlab.com/gitlab-org/gitlab/-/issues/216874
        action = "synchronised"
    elif said == "update" and (labels := _given(payload)):
        action = "labelled"
    if action is None:
        return [not_needed(said)]
    return [
        pull_request(
            _repository(payload),
            number(subject, "iid"),
            action,
            text(subject, "source_branch"),
            optional_text(optional_object(subject, "last_commit") or {}, "id"),
            fork=is_fork(subject.get("source_project_id"), subject.get("target_project_id")),
            label=label,
        )
        for label in labels
    ]


def _given(payload: Object) -> list[str]:
    """The labels that the merge request has and hadn't before."""
    changed = optional_object(optional_object(payload, "changes") or {}, "labels")
    if changed is None:
        return []
    before = {text(label, "title") for label in objects(changed, "previous")}
    after = dict.fromkeys(text(label, "title") for label in objects(changed, "current"))
    return [label for label in after if label not in before]
