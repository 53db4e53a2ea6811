"""What the forges send: the sample payloads, and deliveries signed as each forge signs them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent / "unit" / "data" / "forges"
"""A directory for each forge. They have the structure that the forges document, with values of our own."""
PINGS = {"github": "ping", "gitlab": "Branchline Ping", "bitbucket": "diagnostics:ping", "gitea": "ping"}
"""By which event each forge, or `branchline webhook test`, tries whether anybody is there."""
EVENT_HEADERS = {
    "github": "x-github-event",
    "gitlab": "x-gitlab-event",
    "bitbucket": "x-event-key",
    "gitea": "x-gitea-event",
}

_NONE = "0" * 40


def sample(forge: str, name: str) -> dict[str, Any]:
    """One of the sample payloads."""
    return json.loads((SAMPLES / forge / f"{name}.json").read_text())


def signed(forge: str, event: str, payload: object, secret: str) -> tuple[dict[str, str], bytes]:
    """The headers, by their names in lower case, and the body of a delivery as the forge sends it.

    GitLab signs only with a signing token, such as `signing_token` makes; any other secret it sends as it is.
    """
    body = json.dumps(payload).encode()
    delivery = str(uuid.uuid4())
    headers = {"content-type": "application/json", EVENT_HEADERS[forge]: event}
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if forge == "github":
        headers |= {"x-github-delivery": delivery, "x-hub-signature-256": f"sha256={digest}"}
    elif forge == "bitbucket":
        headers |= {"x-request-uuid": delivery, "x-attempt-number": "1", "x-hub-signature": f"sha256={digest}"}
    elif forge == "gitea":
        headers |= {"x-gitea-delivery": delivery, "x-gitea-event-type": event, "x-gitea-signature": digest}
    elif secret.startswith("whsec_"):
        key, sent = base64.b64decode(secret.removeprefix("whsec_")), str(int(time.time()))
        signature = hmac.new(key, f"{delivery}.{sent}.".encode() + body, hashlib.sha256).digest()
        headers |= {"idempotency-key": delivery, "webhook-id": delivery, "webhook-timestamp": sent}
        headers["webhook-signature"] = f"v1,{base64.b64encode(signature).decode()}"
    else:
        headers |= {"idempotency-key": delivery, "x-gitlab-event-uuid": str(uuid.uuid4()), "x-gitlab-token": secret}
    return headers, body


def signing_token(key: bytes = b"k" * 32) -> str:
    """A secret of GitLab's that signs, rather than being sent."""
    return f"whsec_{base64.b64encode(key).decode()}"


def branch_deleted(forge: str, branch: str, repository: str) -> tuple[str, dict[str, Any]]:
    """The event and the payload by which the forge tells that a branch is gone. `repository` is a URL for HTTPS."""
    if forge in ("github", "gitea"):
        return "delete", _of(forge, repository, sample(forge, "delete_branch") | {"ref": branch})
    return _moved(forge, branch, "", repository)


def branch_pushed(forge: str, branch: str, commit: str, repository: str) -> tuple[str, dict[str, Any]]:
    """The same for a branch that is at this commit now."""
    return _moved(forge, branch, commit, repository)


def _moved(forge: str, branch: str, commit: str, repository: str) -> tuple[str, dict[str, Any]]:
    if forge == "bitbucket":
        payload = sample(forge, "push" if commit else "push_deleting_branch")
        [change] = payload["push"]["changes"]
        for ref in filter(None, (change["new"], change["old"])):
            ref["name"] = branch
        if commit:
            change["new"]["target"]["hash"] = commit
        return "repo:push", _of(forge, repository, payload)
    payload = sample(forge, "push") | {"ref": f"refs/heads/{branch}", "after": commit or _NONE}
    return "Push Hook" if forge == "gitlab" else "push", _of(forge, repository, payload)


def _of(forge: str, repository: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload, as the repository's at this URL, which no others lead to."""
    if forge == "gitlab":
        payload["project"] |= {"git_http_url": repository, "git_ssh_url": None}
    elif forge == "bitbucket":
        payload["repository"]["links"]["html"]["href"] = repository
    else:
        payload["repository"] |= {"clone_url": repository, "ssh_url": None}
    return payload
