"""GitHub's webhooks, also of GitHub Enterprise: https://docs.github.com/en/webhooks/webhook-events-and-payloads"""

from __future__ import annotations

from collections.abc import Sequence

from branchline.forges.payload import Object, event, identifier, nested, number, optional_object, optional_text, text
from branchline.forges.reading import is_fork, is_gone, not_needed, pull_request, ref_deleted, ref_moved, urls
from branchline.forges.signature import is_hex_of
from branchline.webhooks import Action, Delivery, Message, Ping

_ACTIONS: dict[str, Action] = {
    "opened": "opened",
    "synchronize": "synchronised",
    "reopened": "reopened",
    "closed": "closed",
    "labeled": "labelled",
}


def verify(delivery: Delivery, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets signed the body.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    scheme, _, digest = delivery.headers.get("x-hub-signature-256", "").partition("=")
    return scheme == "sha256" and is_hex_of(digest, delivery.body, secrets)


def delivery_id(delivery: Delivery) -> str:
    """What GitHub calls the delivery; a redelivery has the same."""
    return identifier(delivery, "x-github-delivery")


def read(delivery: Delivery, payload: Object) -> list[Message]:
    """What the delivery says. A branch's deletion is told twice, by `push` and by `delete`.

    Raises:
        MalformedError: it is not what GitHub sends.
    """
    match event(delivery, "x-github-event"):
        case "ping":
            return [Ping()]
        case "push":
            after = text(payload, "after")
            gone = payload.get("deleted") is True or is_gone(after)
            return [ref_moved(_repository(payload), text(payload, "ref"), after, gone=gone)]
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
    subject = nested(payload, "pull_request")
    head, base = nested(subject, "head"), nested(subject, "base")
    source = optional_object(head, "repo") or {}
    return pull_request(
        _repository(payload),
        number(subject, "number"),
        action,
        text(head, "ref"),
        optional_text(head, "sha"),
        fork=is_fork(source.get("id"), nested(base, "repo").get("id")),
        label=text(nested(payload, "label"), "name") if action == "labelled" else "",
    )
