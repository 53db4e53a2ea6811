"""Values as AWS tags have them: 256 characters of a restricted alphabet, and nothing lost.

Letters, digits and `_.:/+-@` stand for themselves. Any other byte of the UTF-8 text is `=` and two hexadecimal digits,
and what is longer than a tag goes on in `KEY.1`, `KEY.2` and so on.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import TagTypeDef as EcsTag
    from types_boto3_elbv2.type_defs import TagTypeDef as AwsTag

LENGTH = 256
_PLAIN = re.compile(rb"[A-Za-z0-9_.:/+@-]")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")


def encode(values: Mapping[str, str]) -> dict[str, str]:
    """The tags, by key, that hold the values."""
    tags: dict[str, str] = {}
    for key, value in values.items():
        text = "".join(map(_letter, value.encode("utf-8", "surrogateescape")))
        pieces = [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)] or [""]
        tags |= {f"{key}.{number}" if number else key: piece for number, piece in enumerate(pieces)}
    return tags


def decode(tags: Mapping[str, str]) -> dict[str, str]:
    """The values that `encode` made the tags from. Tags of others come out as they are."""
    values: dict[str, str] = {}
    for key, first in tags.items():
        name, _, number = key.rpartition(".")
        if number.isdecimal() and name in tags:
            continue
        text, following = first, 1
        while (piece := tags.get(f"{key}.{following}")) is not None:
            text, following = text + piece, following + 1
        raw = _ESCAPED.sub(lambda found: bytes.fromhex(found.group(1).decode()), text.encode())
        values[key] = raw.decode("utf-8", "surrogateescape")
    return values


def ecs_tags(values: Mapping[str, str]) -> list[EcsTag]:
    """As ECS takes them: `key` and `value`."""
    return [{"key": key, "value": value} for key, value in encode(values).items()]


def aws_tags(values: Mapping[str, str]) -> list[AwsTag]:
    """As most other services take them: `Key` and `Value`."""
    return [{"Key": key, "Value": value} for key, value in encode(values).items()]


def read(tags: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The values of a resource's tags, in either spelling."""
    pairs = ({name.lower(): str(text) for name, text in tag.items()} for tag in tags)
    return decode({pair["key"]: pair.get("value", "") for pair in pairs})


def _letter(byte: int) -> str:
    letter = bytes((byte,))
    return letter.decode() if _PLAIN.fullmatch(letter) else f"={byte:02X}"
