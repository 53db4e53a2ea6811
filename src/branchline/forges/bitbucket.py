"""Bitbucket Cloud's webhooks: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/"""

from __future__ import annotations

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
from branchline.forges.reading import NO_BRANCH, deleted, is_fork, not_needed, pull_request, pushed, urls
from branchline.forges.signature import is_hex_of
from branchline.webhooks import Action, Delivery, Ignored, Message, Ping

_ACTIONS: dict[str, Action] = {
    "pullrequest:created": "opened",
    "pullrequest:updated": "synchronised",  # also when only the title changed: its commit is then the same as before
    "pullrequest:fulfilled": "closed",
    "pullrequest:rejected": "closed",
}
"""Bitbucket has neither labels nor a way to reopen."""


def verify(delivery: Delivery, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets signed the body.

    https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
    """
    scheme, _, digest = delivery.headers.get("x-hub-signature", "").partition("=")
    return scheme == "sha256" and is_hex_of(digest, delivery.body, secrets)


def delivery_id(delivery: Delivery) -> str:
    """What Bitbucket calls the delivery; a repetition has the same."""
    return identifier(delivery, "x-request-uuid")


def read(delivery: Delivery, payload: Object) -> list[Message]:
    """What the delivery says: a push tells of all its refs at once, a message for each.

    Raises:
        MalformedError: it is not what Bitbucket sends.
    """
    match event(delivery, "x-event-key"):
        case "diagnostics:ping":
            return [Ping()]
        case "repo:push":
            repository = _repository(payload)
            changes = objects(nested(payload, "push"), "changes")
            return [_change(repository, change) for change in changes] or [Ignored("it changes nothing")]
        case kind if action := _ACTIONS.get(kind):
            return [_pull_request(payload, action)]
        case other:
            return [not_needed(other)]


def _repository(payload: Object) -> tuple[str, ...]:
    """The URL of its page, which it is cloned from, too."""
    return urls(nested(payload, "repository", "links", "html"), "href")


def _change(repository: tuple[str, ...], change: Object) -> Message:
    new, old = optional_object(change, "new"), optional_object(change, "old")
    ref = new or old
    if ref is None or text(ref, "type") != "branch":
        return NO_BRANCH
    if new is not None:
        return pushed(repository, text(new, "name"), text(nested(new, "target"), "hash"))
    if change.get("closed") is not True:
        return Ignored("it neither moves nor deletes the branch")
    return deleted(repository, text(ref, "name"))


def _pull_request(payload: Object, action: Action) -> Message:
    subject = nested(payload, "pullrequest")
    source, destination = nested(subject, "source"), nested(subject, "destination")
    return pull_request(
        _repository(payload),
        number(subject, "id"),
        action,
        text(nested(source, "branch"), "name"),
        optional_text(optional_object(source, "commit") or {}, "hash"),
        fork=is_fork(
            (optional_object(source, "repository") or {}).get("uuid"),
            (optional_object(destination, "repository") or {}).get("uuid"),
        ),
    )
