"""From a request to a payload: which requests are read at all, and how fields are taken from what may be anything."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import NoReturn, cast
from urllib.parse import unquote_to_bytes

from branchline.forges.refusals import MalformedError, TooLargeError, UnsupportedMediaTypeError
from branchline.webhooks import Delivery

Object = Mapping[str, object]
"""A JSON object, of whose values nothing is known yet."""

LARGEST = 6 * 2**20
"""Bytes of a body. GitHub and GitLab send up to 25 MB, but no more than 6 MB reach a Lambda function, and 10 MB an API
Gateway; the same on one machine, so that a hook works in both places or in none. Payloads have some 20 kB.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""
DEEPEST = 64
"""Arrays and objects within each other. Payloads have less than ten; Python's own limit depends on its caller."""
_LONGEST_ID = 100

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_STEPS = bytes(byte for byte in range(256) if byte not in _STEPS)


def unwrap(event: object) -> Delivery:
    """The request in an event of an API Gateway's HTTP API, of payload format 2.0, or of a Lambda function's URL.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html

    Raises:
        MalformedError: it is no such event.
    """
    if not isinstance(event, dict):
        raise MalformedError("the event is not an object")
    fields = cast("Object", event)
    headers = {
        name.lower(): value
        for name, value in (optional_object(fields, "headers") or {}).items()
        if isinstance(value, str)
    }
    body = optional_text(fields, "body")
    try:
        raw = base64.b64decode(body, validate=True) if fields.get("isBase64Encoded") is True else body.encode()
    except (binascii.Error, ValueError) as error:
        raise MalformedError("the event's body is not encoded as it says") from error
    return Delivery(headers, raw)


def check_size(delivery: Delivery) -> None:
    """Lets through what isn't too large to be looked at.

    Raises:
        TooLargeError: it is.
    """
    if len(delivery.body) > LARGEST:
        raise TooLargeError(f"the body has more than {LARGEST // 2**20} MiB")


def document(delivery: Delivery) -> bytes:
    """The payload's JSON text: the body, or where that is a form, its field `payload`.

    Raises:
        UnsupportedMediaTypeError: it is of another type, or encoded otherwise than in UTF-8.
        MalformedError: the form has no such field, or several.
    """
    media_type, *parameters = (part.strip().lower() for part in delivery.headers.get("content-type", "").split(";"))
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise UnsupportedMediaTypeError("the body is not in UTF-8")
    if media_type == "application/json":
        return delivery.body
    if media_type == "application/x-www-form-urlencoded":
        fields = [
            value
            for name, _, value in (part.partition(b"=") for part in delivery.body.split(b"&"))
            if name == b"payload"
        ]
        if len(fields) != 1:
            raise MalformedError("the form hasn't one field 'payload'")
        return unquote_to_bytes(fields[0].replace(b"+", b" "))
    raise UnsupportedMediaTypeError(
        "the body is neither application/json nor application/x-www-form-urlencoded",
        remedy="choose application/json as the hook's content type",
    )


def decode(delivery: Delivery) -> Object:
    """The payload.

    Raises:
        UnsupportedMediaTypeError, MalformedError: it can't be read, or is something that no forge sends.
    """
    content = document(delivery)
    if _depth(content) > DEEPEST:
        raise MalformedError(f"the payload has more than {DEEPEST} levels")
    try:
        payload: object = json.loads(content.decode(), object_pairs_hook=_unambiguous, parse_constant=_no_number)
    except ValueError as error:  # also for bytes that are not UTF-8, and for numbers of thousands of digits
        raise MalformedError("the payload is not JSON") from error
    if not isinstance(payload, dict):
        raise MalformedError("the payload is not an object")
    return cast("Object", payload)


def _depth(content: bytes) -> int:
    """How many arrays and objects are within each other, found without recursion."""
    structure = _STRING.sub(b"", content).translate(None, _NO_STEPS)
    return max(accumulate(_STEPS[byte] for byte in structure), default=0)


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedError("the payload has a key twice in one object")
    return fields


def _no_number(name: str) -> NoReturn:
    raise MalformedError(f"the payload has {name}, which is not JSON")


def identifier(delivery: Delivery, *names: str) -> str:
    """The first of the headers that is there, such that it can be logged; '' where none is."""
    found = next((value for name in names if (value := delivery.headers.get(name))), "")
    return re.sub(r"[^!-~]", "", found)[:_LONGEST_ID]


def event(delivery: Delivery, *names: str) -> str:
    """What the delivery is about, as the first of these headers that is there says.

    Raises:
        MalformedError: none is.
    """
    found = next((value for name in names if (value := delivery.headers.get(name))), "")
    if not found:
        raise MalformedError(f"there is no header {names[0]}")
    return found


def optional_object(fields: Object, key: str) -> Object | None:
    """The object of that key, or None where there is none or it is null.

    Raises:
        MalformedError: it is something else.
    """
    value = fields.get(key)
    if value is not None and not isinstance(value, dict):
        raise MalformedError(f"'{key}' is not an object")
    return cast("Object | None", value)


def nested(fields: Object, *keys: str) -> Object:
    """The object at the end of that path.

    Raises:
        MalformedError: there is none.
    """
    for key in keys:
        found = optional_object(fields, key)
        if found is None:
            raise MalformedError(f"'{key}' is missing")
        fields = found
    return fields


def objects(fields: Object, key: str) -> list[Object]:
    """The objects in the array of that key.

    Raises:
        MalformedError: it is no array of objects.
    """
    value = fields.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[object]", value)):
        raise MalformedError(f"'{key}' is not an array of objects")
    return cast("list[Object]", value)


def optional_text(fields: Object, key: str) -> str:
    """The text of that key; '' where there is none or it is null.

    Raises:
        MalformedError: it is something else, or can't be written in UTF-8: JSON's escapes allow halves of characters.
    """
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedError(f"'{key}' is not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MalformedError(f"'{key}' is not a valid text") from error
    return value


def text(fields: Object, key: str) -> str:
    """The text of that key, which isn't empty.

    Raises:
        MalformedError: it is, or it is none.
    """
    if not (found := optional_text(fields, key)):
        raise MalformedError(f"'{key}' is missing")
    return found


def number(fields: Object, key: str) -> int:
    """The number of that key, such as a pull request's.

    Raises:
        MalformedError: it is no positive integer of 64 bits.
    """
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise MalformedError(f"'{key}' is not a number")
    return value
