"""Gitea's and Forgejo's webhooks.

https://docs.gitea.com/usage/webhooks, https://forgejo.org/docs/latest/user/webhooks/, and what they send in full:
https://github.com/go-gitea/gitea/blob/main/modules/structs/hook.go
"""

from __future__ import annotations

from collections.abc import Sequence

from branchline.forges.payload import (
    Object,
    document,
    event,
    identifier,
    nested,
    number,
    optional_object,
    optional_text,
    text,
)
from branchline.forges.reading import is_fork, is_gone, not_needed, pull_request, ref_deleted, ref_moved, urls
from branchline.forges.refusals import RefusedError
from branchline.forges.signature import is_hex_of
from branchline.webhooks import Action, Delivery, Ignored, Message, Ping

_ACTIONS: dict[str, Action] = {
    "opened": "opened",
    "synchronized": "synchronised",
    "reopened": "reopened",
    "closed": "closed",
    "label_updated": "labelled",
}


def verify(delivery: Delivery, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets signed the payload: of a form, that is its field, not the body.

    https://github.com/go-gitea/gitea/blob/main/services/webhook/deliver.go
    """
    headers = delivery.headers
    given = headers.get("x-gitea-signature") or headers.get("x-forgejo-signature") or ""
    try:
        signed = document(delivery)
    except RefusedError:
        return False
    return is_hex_of(given, signed, secrets)


def delivery_id(delivery: Delivery) -> str:
    """What Gitea calls the delivery; a redelivery has the same."""
    return identifier(delivery, "x-gitea-delivery", "x-forgejo-delivery")


def read(delivery: Delivery, payload: Object) -> list[Message]:
    """What the delivery says.

    Raises:
        MalformedError: it is not what Gitea sends.
    """
    match event(delivery, "x-gitea-event", "x-forgejo-event"):
        case "ping":  # as whoever sends by hand may call it; Gitea itself tests a hook with a push
            return [Ping()]
        case "push":
            after = text(payload, "after")
            return [ref_moved(_repository(payload), text(payload, "ref"), after, gone=is_gone(after))]
        case "delete":
            return [ref_deleted(_repository(payload), text(payload, "ref"), text(payload, "ref_type"))]
        case "pull_request":
            return [_pull_request(payload)]
        case other:
            return [not_needed(other)]


def _repository(payload: Object) -> tuple[str, ...]:
    return urls(nested(payload, "repository"), "clone_url", "ssh_url")


def _pull_request(payload: Object) -> Message:
    said = text(payload, "action")
    if (action := _ACTIONS.get(said)) is None:
        return not_needed(said)
    label = ""
    if action == "labelled":
        # Forgejo tells which label was given. Gitea tells only which there are, and of these, one may have been given
        # long before the latest commit.
        if (given := optional_object(payload, "label")) is None:
            return Ignored("it doesn't say which label was given")
        label = text(given, "name")
    subject = nested(payload, "pull_request")
    head, base = nested(subject, "head"), nested(subject, "base")
    branch = text(head, "ref")
    # Whoever may read a repository can open a pull request by AGit, without a fork: it seems to come from the
    # repository itself, but from no branch there. https://docs.gitea.com/usage/agit
    without_branch = branch.startswith("refs/")
    source = optional_object(head, "repo") or {}
    return pull_request(
        _repository(payload),
        number(subject, "number"),
        action,
        branch,
        optional_text(head, "sha"),
        fork=without_branch or is_fork(source.get("id"), nested(base, "repo").get("id")),
        label=label,
    )
