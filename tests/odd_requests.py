"""Whatever somebody may post to the webhook: forges' deliveries, broken in any way, signed or not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from tests.forge_payloads import EVENT_HEADERS, SAMPLES, sample

FORGES = ("github", "gitlab", "bitbucket", "gitea")
_EVENTS = {
    "github": ("push", "delete", "pull_request", "ping"),
    "gitlab": ("Push Hook", "Merge Request Hook", "Tag Push Hook", "Branchline Ping"),
    "bitbucket": ("repo:push", "pullrequest:created", "pullrequest:rejected", "diagnostics:ping"),
    "gitea": ("push", "delete", "pull_request", "pull_request_label", "ping"),
}
_SIGNATURES = {"github": "x-hub-signature-256", "bitbucket": "x-hub-signature", "gitea": "x-gitea-signature"}
_NAMES = ("ref", "ref_type", "after", "deleted", "repository", "project", "push", "changes", "labels", "action", "head")


@dataclass(frozen=True)
class OddRequest:
    """A request to `/webhooks/{forge}`."""

    forge: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The same as API Gateway hands it on, in payload format 2.0."""
        return {
            "version": "2.0",
            "routeKey": "POST /webhooks/{forge}",
            "rawPath": f"/webhooks/{self.forge}",
            "rawQueryString": "",
            "headers": dict(self.headers),
            "requestContext": {"http": {"method": "POST", "path": f"/webhooks/{self.forge}"}, "stage": "$default"},
            "pathParameters": {"forge": self.forge},
            "body": base64.b64encode(self.body).decode(),
            "isBase64Encoded": True,
        }


odd_text = st.text(max_size=30) | st.sampled_from(
    [
        "",
        "refs/heads/main",
        "refs/tags/main",
        "0" * 40,
        "a" * 40,
        "\ud800",
        "\x00",
        "../..",
        "x" * 3000,
        "${jndi:x}",
        "'--",
    ]
)
odd_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_text,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(_NAMES) | odd_text, children, max_size=4)
    ),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document there is anything."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in ((*path, key), *_places(item, (*path, key)))]


def _mutate(draw: st.DrawFn, document: Any, keep: tuple[Any, ...] | None = None) -> None:
    """Changes or removes up to three of its values, but for the one at `keep`."""
    for _ in range(draw(st.integers(0, 3))):
        places = [place for place in _places(document) if place != keep]
        if not places:
            return
        *path, last = draw(st.sampled_from(places))
        parent = document
        for key in path:
            parent = parent[key]
        if draw(st.booleans()):
            parent[last] = draw(odd_json)
        else:
            del parent[last]


@st.composite
def _payload(draw: st.DrawFn, forge: str) -> Any:
    """A sample with a few of its values changed or gone, or anything at all."""
    if draw(st.integers(0, 9)) == 9:
        return draw(odd_json)
    name = draw(st.sampled_from(sorted(path.stem for path in (SAMPLES / forge).glob("*.json"))))
    payload = sample(forge, name)
    _mutate(draw, payload)
    return payload


@st.composite
def _body(draw: st.DrawFn, payload: Any) -> tuple[str, bytes]:
    """A content type, and the payload as such, or something worse."""
    text = json.dumps(payload)
    match draw(st.integers(0, 11)):
        case 0:
            return "application/x-www-form-urlencoded", urlencode({"payload": text}, errors="replace").encode()
        case 1:
            charset = draw(st.sampled_from(["utf-16", "latin-1", "utf-7"]))
            return f"application/json; charset={charset}", text.encode(charset, "replace")
        case 2:
            return "application/json", text.encode()[: draw(st.integers(0, len(text)))]
        case 3:
            depth = draw(st.sampled_from([10, 63, 64, 65, 1000, 100_000]))
            opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}")]))
            return "application/json", (opening * depth + "1" + closing * depth).encode()
        case 4:
            return "application/json", draw(st.binary(max_size=200))
        case 5:
            return "application/json", b'{"ref": ' + b"9" * draw(st.sampled_from([10, 5000, 100_000])) + b"}"
        case 6:
            return "application/json", b'{"a": 1, "a": 2, "repository": {}, "ref": NaN}'
        case 7:
            return draw(
                st.sampled_from(["", "text/plain", "multipart/form-data", ";;;", "application/xml"])
            ), text.encode()
        case 8:
            padding = " " * draw(st.sampled_from([100, 200_000]))
            return "application/json", (padding + text + padding).encode()
        case _:
            return "application/json", text.encode()


@st.composite
def odd_requests(draw: st.DrawFn, secret: str) -> OddRequest:
    """A request, most of them signed with the secret, so that what is in them is looked at."""
    forge = draw(st.sampled_from(FORGES))
    content_type, body = draw(_body(draw(_payload(forge))))
    event = draw(st.sampled_from(_EVENTS[forge]) | st.text("abcdefgh:_ -", max_size=20))
    headers = {
        "content-type": content_type,
        EVENT_HEADERS[forge]: event,
        "x-github-delivery": "1",
        "x-request-uuid": "1",
    }
    signer = draw(st.sampled_from([*[secret] * 12, "guessed", "", secret[:-1]]))
    headers |= _signature(forge, signer, body)
    if draw(st.integers(0, 9)) == 9:
        broken = draw(st.sampled_from(sorted(headers)))
        headers[broken] = draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
    if draw(st.integers(0, 9)) == 9:
        del headers[draw(st.sampled_from(sorted(headers)))]
    where = draw(st.sampled_from(FORGES)) if draw(st.integers(0, 9)) == 9 else forge
    return OddRequest(where, headers, body)


def _signature(forge: str, secret: str, body: bytes) -> dict[str, str]:
    if forge == "gitlab":
        return {"x-gitlab-token": secret}
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {_SIGNATURES[forge]: digest if forge == "gitea" else f"sha256={digest}"}


@st.composite
def odd_events(draw: st.DrawFn, secret: str) -> dict[str, Any]:
    """An API's event of any shape, in which only `requestContext` is always there: by that it is known for one."""
    event = draw(odd_requests(secret)).event
    _mutate(draw, event, keep=("requestContext",))
    return event
