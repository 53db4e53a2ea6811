"""HMAC-SHA256 (RFC 2104) as all forges use it, in a time that doesn't tell how much of a guess was right."""

from __future__ import annotations

import hmac
from collections.abc import Sequence


def is_hex_of(given: str, content: bytes, secrets: Sequence[str]) -> bool:
    """Whether `given` is the content's HMAC-SHA256 under one of the secrets, in lower-case hexadecimal digits.

    Several are valid at once while a secret is being rotated. An empty one never is, as anybody knows it.
    """
    return any(
        [equal(given, hmac.digest(encoded(secret), content, "sha256").hex()) for secret in secrets if secret]  # noqa: C419 - all of them, always
    )


def equal(given: str, expected: str) -> bool:
    """Whether the two are the same, found in constant time. `given` may hold anything."""
    return hmac.compare_digest(encoded(given), encoded(expected))


def encoded(text: str) -> bytes:
    """The text as bytes, whatever is in it: a server may have decoded a header's bytes into lone surrogates."""
    return text.encode("utf-8", "surrogatepass")
