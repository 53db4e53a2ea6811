"""A delivery of our own that asks nothing but whether anybody is there, signed as GitHub signs."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid

FORGE = "github"
"""Whose way of signing it has, and so the path that it goes to."""


def ping(secret: str) -> tuple[dict[str, str], bytes]:
    """Its headers and its body.

    https://docs.github.com/en/webhooks/webhook-events-and-payloads#ping
    """
    body = json.dumps({"zen": "branchline webhook test", "hook_id": 0, "hook": {}}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "x-github-event": "ping",
        "x-github-delivery": str(uuid.uuid4()),
        "x-hub-signature-256": f"sha256={signature}",
    }
    return headers, body
