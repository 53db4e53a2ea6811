"""Keeps secret values out of everything that is shown or stored."""

from __future__ import annotations

from collections.abc import Collection


def redact(text: str, secrets: Collection[str]) -> str:
    """The text with every secret value replaced by `[secret]`; the longest first, as one may hold another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text
