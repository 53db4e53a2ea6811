"""A delivery as an API Gateway hands it to the Lambda function."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline.forges import payload, reader
from branchline.forges.refusals import MalformedError
from branchline.webhooks import BranchDeleted, Delivery
from tests import forge_payloads

EVENT = {
    "version": "2.0",
    "routeKey": "POST /{forge}",
    "headers": {"Content-Type": "application/json", "x-github-event": "ping"},
    "requestContext": {"http": {"method": "POST", "path": "/github"}},
    "body": "e30=",
    "isBase64Encoded": True,
}


def test_an_api_gateways_event_is_a_delivery() -> None:
    headers = {"content-type": "application/json", "x-github-event": "ping"}
    assert payload.unwrap(EVENT) == Delivery(headers, b"{}")
    assert payload.unwrap(EVENT | {"body": "ü{}", "isBase64Encoded": False}) == Delivery(headers, "ü{}".encode())
    assert payload.unwrap({"body": None, "headers": None}) == Delivery({}, b"")
    assert payload.unwrap({}) == Delivery({}, b"")


@pytest.mark.parametrize(
    "event",
    [
        *(None, [], "text"),
        *(EVENT | {"body": body} for body in ("e30", "e3 0=", "ü", {}, 1)),
        EVENT | {"body": "\ud800", "isBase64Encoded": False},
        EVENT | {"headers": []},
    ],
)
def test_what_is_no_event_of_an_api_gateway_is_malformed(event: object) -> None:
    with pytest.raises(MalformedError):
        payload.unwrap(event)


@pytest.mark.parametrize("encoded", [True, False])
def test_a_delivery_is_authentic_however_its_body_travelled(encoded: bool) -> None:
    url = "https://forge.example/acme/shop.git"
    headers, body = forge_payloads.signed("github", *forge_payloads.branch_deleted("github", "grün", url), "secret")
    text = base64.b64encode(body).decode() if encoded else body.decode()
    delivery = payload.unwrap(EVENT | {"headers": headers, "body": text, "isBase64Encoded": encoded})
    assert reader.receive("github", delivery, ["secret"]).messages == (BranchDeleted((url,), "grün"),)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(event=anything | st.fixed_dictionaries({}, optional=dict.fromkeys(EVENT, anything)))
def test_an_event_with_anything_in_it_is_a_delivery_or_malformed(event: object) -> None:
    try:
        delivery = payload.unwrap(event)
    except MalformedError:
        return
    assert isinstance(delivery.body, bytes)
    assert all(name == name.lower() and isinstance(value, str) for name, value in delivery.headers.items())
