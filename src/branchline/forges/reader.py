"""From a delivery to what it says, for all that receive any: the Lambda, and `branchline webhook serve`.

The signature is checked before anything is parsed. Applying what was read is for others; a delivery may come twice,
late, or out of order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from branchline.forges import bitbucket, gitea, github, gitlab
from branchline.forges.payload import Object, check_size, decode
from branchline.forges.refusals import UnauthorisedError, UnknownForgeError
from branchline.webhooks import Delivery, Message


class _Forge(NamedTuple):
    verify: Callable[[Delivery, Sequence[str]], bool]
    delivery_id: Callable[[Delivery], str]
    read: Callable[[Delivery, Object], list[Message]]


_FORGES = {
    "github": _Forge(github.verify, github.delivery_id, github.read),
    "gitlab": _Forge(gitlab.verify, gitlab.delivery_id, gitlab.read),
    "bitbucket": _Forge(bitbucket.verify, bitbucket.delivery_id, bitbucket.read),
    "gitea": _Forge(gitea.verify, gitea.delivery_id, gitea.read),
}
FORGES: tuple[str, ...] = tuple(_FORGES)
"""The forges whose webhooks are read, as the path calls them that they are sent to."""


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery that one of the secrets signed."""

    delivery_id: str
    """What the forge calls it, for logs; '' where it doesn't say."""
    messages: tuple[Message, ...]
    """What it says: at least one message."""


def receive(forge: str, delivery: Delivery, secrets: Sequence[str]) -> Received:
    """Reads a delivery.

    Args:
        forge: one of `FORGES`.
        delivery: the request, with anything in it.
        secrets: each that the hook may have been made with; several while one is being rotated.

    Raises:
        RefusedError: it isn't authentic, or can't be read. Nothing else, whatever was sent.
    """
    known = _FORGES.get(forge)
    if known is None:
        raise UnknownForgeError
    check_size(delivery)
    if not known.verify(delivery, secrets):
        raise UnauthorisedError
    return Received(known.delivery_id(delivery), tuple(known.read(delivery, decode(delivery))))


def delivery_id(forge: str, delivery: Delivery) -> str:
    """What the forge calls the delivery, also of one that is refused: printable, short, and not to be trusted."""
    known = _FORGES.get(forge)
    return known.delivery_id(delivery) if known else ""
