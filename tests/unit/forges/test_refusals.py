"""Which deliveries are refused, and how: signatures, sizes, encodings, and whatever else may arrive."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchline.forges import payload, reader
from branchline.forges.refusals import RefusedError
from branchline.webhooks import BranchDeleted, Delivery, Ignored, Message
from tests import forge_payloads
from tests.forge_payloads import signed, signing_token

SECRET = "correct horse"
URL = "https://forge.example/acme/shop.git"
SIGNATURES = {
    "github": "x-hub-signature-256",
    "gitlab": "x-gitlab-token",
    "bitbucket": "x-hub-signature",
    "gitea": "x-gitea-signature",
}


def deletion(forge: str, secret: str = SECRET, branch: str = "main") -> Delivery:
    return Delivery(*signed(forge, *forge_payloads.branch_deleted(forge, branch, URL), secret))


def resigned(forge: str, delivery: Delivery, body: bytes, **headers: str) -> Delivery:
    """The delivery with another body, and with its signature."""
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    prefix = "" if forge == "gitea" else "sha256="
    signature = {} if forge == "gitlab" else {SIGNATURES[forge]: f"{prefix}{digest}"}
    return Delivery({**delivery.headers, **signature, **headers}, body)


def with_headers(delivery: Delivery, **headers: str | None) -> Delivery:
    changed = {**delivery.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return replace(delivery, headers={name: value for name, value in changed.items() if value is not None})


def refusal(forge: str, delivery: Delivery, *secrets: str) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        reader.receive(forge, delivery, secrets or (SECRET,))
    return caught.value.status, caught.value.message


@pytest.mark.parametrize("forge", reader.FORGES)
def test_any_of_several_secrets_is_valid_while_one_is_rotated(forge: str) -> None:
    for secrets in (["old", SECRET], [SECRET, "new"], ["", SECRET]):
        assert reader.receive(forge, deletion(forge), secrets).messages


@pytest.mark.parametrize("forge", reader.FORGES)
def test_a_wrong_missing_or_malformed_signature_is_refused_without_saying_which(forge: str) -> None:
    delivery, header = deletion(forge), SIGNATURES[forge].replace("-", "_")
    right = delivery.headers[SIGNATURES[forge]]
    flipped = [right[:at] + chr(ord(right[at]) ^ 1) + right[at + 1 :] for at in range(len(right))]
    wrong = [None, "", " ", "sha256=", right[:-1], right + "0", right + "\n", f"{right},{right}", right.upper()]
    wrong += ["sha1=" + right, "sha256=sha256=", "é" * 64, "\ud800", "\x00", "=" * 9000, *flipped]
    for value in wrong:
        assert refusal(forge, with_headers(delivery, **{header: value})) == (401, "unauthorised")
    for secrets in ([], [""], ["", ""], ["another"], [SECRET + " "], ["\udcff"]):
        with pytest.raises(RefusedError, match=r"^unauthorised$"):
            reader.receive(forge, delivery, secrets)


@pytest.mark.parametrize("forge", reader.FORGES)
def test_a_delivery_that_an_empty_secret_signed_is_refused(forge: str) -> None:
    assert refusal(forge, deletion(forge, secret=""), "") == (401, "unauthorised")


@pytest.mark.parametrize("forge", [forge for forge in reader.FORGES if forge != "gitlab"])
def test_a_body_that_was_changed_on_its_way_is_refused(forge: str) -> None:
    delivery = deletion(forge)
    for at in range(0, len(delivery.body), 97):
        changed = delivery.body[:at] + bytes([delivery.body[at] ^ 4]) + delivery.body[at + 1 :]
        assert refusal(forge, replace(delivery, body=changed)) == (401, "unauthorised")


def test_another_forges_signature_is_worth_nothing() -> None:
    headers = {**deletion("github").headers, **deletion("bitbucket").headers, **deletion("gitea").headers}
    del headers["x-hub-signature-256"]
    assert refusal("github", replace(deletion("github"), headers=headers)) == (401, "unauthorised")


def test_a_signing_token_of_gitlab_signs_the_body_its_id_and_its_time() -> None:
    token = signing_token()
    delivery = deletion("gitlab", token)
    other = signing_token(b"o" * 32)
    signature = delivery.headers["webhook-signature"]

    assert reader.receive("gitlab", delivery, [other, token]).messages == (BranchDeleted((URL,), "main"),)
    both = with_headers(delivery, webhook_signature=f"v1,bm8= {signature}")
    assert reader.receive("gitlab", both, [token]).delivery_id == delivery.headers["webhook-id"]

    now = int(time.time())
    for changed in (
        replace(delivery, body=delivery.body + b" "),
        with_headers(delivery, webhook_id="another"),
        with_headers(delivery, webhook_id=None),
        with_headers(delivery, webhook_timestamp=str(now - 1)),
        with_headers(delivery, webhook_timestamp=None),
        with_headers(delivery, webhook_timestamp="٣" * 10),
        with_headers(delivery, webhook_signature=None),
        with_headers(delivery, webhook_signature=signature.removeprefix("v1,")),
        with_headers(delivery, webhook_signature=signature.replace("v1", "v2")),
        with_headers(delivery, webhook_signature=signature + "é\ud800"),
    ):
        assert refusal("gitlab", changed, token) == (401, "unauthorised")
    assert refusal("gitlab", delivery, other, "whsec_", "whsec_%", SECRET) == (401, "unauthorised")


def test_a_delivery_that_gitlab_signed_long_ago_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery, now = deletion("gitlab", signing_token()), time.time()
    for later in (301.0, -301.0):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        assert refusal("gitlab", delivery, signing_token()) == (401, "unauthorised")
    monkeypatch.setattr(time, "time", lambda: now + 200)
    assert reader.receive("gitlab", delivery, [signing_token()]).messages


def form(forge: str, text: bytes) -> Delivery:
    """A delivery of a hook that sends forms. GitHub signs the body, and Gitea the field in it."""
    body = urlencode({"payload": text}).encode()
    form = resigned(forge, deletion(forge), body, **{"content-type": "application/x-www-form-urlencoded"})
    if forge != "gitea":
        return form
    digest = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    return with_headers(form, x_gitea_signature=digest)


@pytest.mark.parametrize("forge", ["github", "gitea"])
def test_a_form_is_read_as_well(forge: str) -> None:
    delivery = form(forge, deletion(forge, branch="grün & +/1%").body.replace(b" & ", b"&"))
    assert reader.receive(forge, delivery, [SECRET]).messages == (BranchDeleted((URL,), "grün&+/1%"),)
    assert refusal(forge, replace(delivery, body=delivery.body.replace(b"branch", b"brunch"))) == (401, "unauthorised")


@pytest.mark.parametrize("body", [b"", b"payload", b"Payload=%7B%7D", b"payload=%7B%7D&payload=%7B%7D", b"payload=%ff"])
def test_a_form_with_anything_but_one_payload_is_malformed(body: bytes) -> None:
    sent = resigned("github", deletion("github"), body, **{"content-type": "application/x-www-form-urlencoded"})
    assert refusal("github", sent)[0] == 400


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'APPLICATION/JSON;Charset="UTF-8"; x=y'])
def test_the_content_type_may_name_its_charset(content_type: str) -> None:
    assert reader.receive("github", with_headers(deletion("github"), content_type=content_type), [SECRET]).messages


@pytest.mark.parametrize(
    "content_type", [None, "", ";", "text/plain", "application/json; charset=utf-16", "multipart/form-data; boundary=x"]
)
def test_another_content_type_or_charset_is_refused(content_type: str | None) -> None:
    assert refusal("github", with_headers(deletion("github"), content_type=content_type))[0] == 415


@pytest.mark.parametrize("forge", reader.FORGES)
def test_a_body_that_is_too_large_is_refused_before_its_signature_is_looked_at(forge: str) -> None:
    body = b"[" * (payload.LARGEST + 1)
    assert refusal(forge, Delivery({}, body)) == (413, "the body has more than 6 MiB")


def test_the_largest_body_is_looked_at_in_a_moment() -> None:
    started = time.monotonic()
    for filling in (b"[", b"[]", b'"\\', b"{}", b"\x00"):
        body = filling * (payload.LARGEST // len(filling))
        assert refusal("github", resigned("github", deletion("github"), body))[0] == 400
    assert time.monotonic() - started < 10, "five bodies of 6 MiB"


def test_there_are_no_other_forges() -> None:
    for forge in ("", "GitHub", "gogs", "../github", "\x00"):
        assert refusal(forge, deletion("github")) == (404, "no such forge")
        assert reader.delivery_id(forge, deletion("github")) == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b"{}\x00",
        json.dumps({}).encode("utf-16"),
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 100_000,
        b'{"a": "' + b"[" * 100 + b'"' + b"[" * 65,
    ],
)
def test_what_is_no_sound_json_object_is_malformed(body: bytes) -> None:
    assert refusal("github", resigned("github", deletion("github"), body))[0] == 400


def test_brackets_in_texts_are_not_levels_and_64_levels_are_read() -> None:
    fields = json.loads(deletion("github").body)
    fields["description"] = '[{"\\' * 100
    fields["deep"] = json.loads("[" * 63 + "]" * 63)
    body = json.dumps(fields).encode()
    assert reader.receive("github", resigned("github", deletion("github"), body), [SECRET]).messages


@pytest.mark.parametrize("forge", reader.FORGES)
@pytest.mark.parametrize(
    "branch",
    [
        *("a b", "a..b", "a\x00b", "a\nb", "/a", "-a", "a/", "a.", "a.lock", "a.lock/b", ".a", "a/.b", "a//b", "a@{b"),
        *("@", "a~b", "a\\b", "a*", "é" * 513),
    ],
)
def test_what_can_be_no_branch_is_ignored(forge: str, branch: str) -> None:
    assert reader.receive(forge, deletion(forge, branch=branch), [SECRET]).messages == (
        Ignored("no branch can have such a name"),
    )


@pytest.mark.parametrize("forge", reader.FORGES)
@pytest.mark.parametrize("branch", ["x", "feature/login", "grün", "日本", "🚀", "é" * 512, "a@b", "HEAD", "a.b", "#1"])
def test_any_name_that_git_allows_is_a_branch(forge: str, branch: str) -> None:
    assert reader.receive(forge, deletion(forge, branch=branch), [SECRET]).messages == (BranchDeleted((URL,), branch),)


@pytest.mark.parametrize("forge", reader.FORGES)
def test_half_a_character_is_malformed(forge: str) -> None:
    assert refusal(forge, deletion(forge, branch="a\ud800"))[0] == 400


@pytest.mark.parametrize("forge", reader.FORGES)
def test_a_delivery_without_its_event_is_malformed(forge: str) -> None:
    header = forge_payloads.EVENT_HEADERS[forge].replace("-", "_")
    assert refusal(forge, with_headers(deletion(forge), **{header: None}))[0] == 400


@pytest.mark.parametrize("forge", reader.FORGES)
def test_what_the_sender_wrote_is_made_safe_to_show_and_to_log(forge: str) -> None:
    delivery = deletion(forge)
    headers = dict.fromkeys(delivery.headers, "") | {
        name: "\x1b[31mé\n" + "x" * 500 + "\u202e" for name in delivery.headers if "token" not in name
    }
    assert reader.delivery_id(forge, Delivery(headers, b"")) == "[31m" + "x" * 96

    event = {forge_payloads.EVENT_HEADERS[forge].replace("-", "_"): "\x1b[31m<b>\n" + "x" * 500}
    [message] = reader.receive(forge, with_headers(delivery, **event), [SECRET]).messages
    assert isinstance(message, Ignored)
    assert message.reason.isprintable()
    assert len(message.reason) < 100


# --- Whatever arrives, there are messages or a refusal, and nothing else

SAMPLES = sorted(forge_payloads.SAMPLES.glob("*/*.json"))
EVENTS = {
    "github": ["ping", "push", "delete", "pull_request", "issues"],
    "gitlab": ["Branchline Ping", "Push Hook", "Merge Request Hook", "Tag Push Hook"],
    "bitbucket": ["diagnostics:ping", "repo:push", *(f"pullrequest:{what}" for what in ("created", "rejected"))],
    "gitea": ["ping", "push", "delete", "pull_request"],
}
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0" * 40, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(value: object) -> list[tuple[Any, Any]]:
    """Every place in the payload: what holds it, and its key or index there."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return []
    container: Any = value
    return [(container, key) for key in keys] + [place for key in keys for place in places(container[key])]


def read_or_refuse(forge: str, delivery: Delivery, *secrets: str) -> None:
    try:
        received = reader.receive(forge, delivery, secrets)
    except RefusedError as error:
        assert error.status in (400, 401, 404, 413, 415)
        assert error.message.isprintable()
    else:
        assert received.messages
        assert all(isinstance(message, Message) for message in received.messages)
        str(received).encode()  # nothing in it, such as half a character, fails later


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_payload_that_is_wrong_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(SAMPLES))
    forge = file.parent.name
    fields = json.loads(file.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        if not (found := places(fields)):
            break
        container, key = data.draw(st.sampled_from(found))
        match data.draw(st.sampled_from(["drop", "replace", "nest", "double"])):
            case "drop":
                del container[key]
            case "replace":
                container[key] = data.draw(anything)
            case "nest":
                container[key] = data.draw(st.sampled_from([[container[key]], {"name": container[key]}, [[]]]))
            case _:
                container[key] = [container[key], container[key]]
    delivery = Delivery(*signed(forge, data.draw(st.sampled_from(EVENTS[forge])), fields, SECRET))
    read_or_refuse(forge, delivery, SECRET)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_body_that_is_cut_or_garbled_is_read_or_refused(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(SAMPLES))
    forge, body = file.parent.name, file.read_bytes()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 200)))
    body = body[:start] + data.draw(st.binary(max_size=20)) + data.draw(st.sampled_from([body[end:], b""]))
    content_type = data.draw(st.sampled_from(["application/json", "application/x-www-form-urlencoded"]))
    event = {forge_payloads.EVENT_HEADERS[forge]: data.draw(st.sampled_from(EVENTS[forge]))}
    delivery = resigned(forge, deletion(forge), body, **event, **{"content-type": content_type})
    read_or_refuse(forge, delivery, SECRET)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_headers_with_anything_in_them_are_read_or_refused(data: st.DataObject) -> None:
    forge = data.draw(st.sampled_from(reader.FORGES))
    secret = data.draw(st.sampled_from([SECRET, signing_token()]))
    delivery = deletion(forge, secret)
    values = st.text(st.characters(), max_size=20) | st.none()
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(delivery.headers)), values, max_size=3))
    mutated = with_headers(delivery, **changed)
    reader.delivery_id(forge, mutated).encode("ascii")
    read_or_refuse(data.draw(st.sampled_from([forge, *reader.FORGES])), mutated, secret, data.draw(st.text(max_size=5)))
