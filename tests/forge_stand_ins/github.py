"""GitHub's REST API, as its documentation has it: https://docs.github.com/en/rest"""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.forge_stand_ins.server import (
    BOOLEAN,
    EVENTS,
    NAME,
    TEAM,
    URL,
    Answer,
    Request,
    StandIn,
    WrongError,
    check,
    one_of,
    text,
)

_STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


class GitHubStandIn(StandIn):
    """As GitHub Enterprise Server has it, below `/api/v3`."""

    prefix = "/api/v3"

    def __init__(self) -> None:
        super().__init__()
        self.deployments: list[dict[str, Any]] = []
        self.statuses: list[dict[str, Any]] = []
        self.app: rsa.RSAPublicKey | None = None
        """The public key of the app, where there is one."""
        self.client_id = "Iv23liabc"
        self.granted: dict[str, str] = {}
        """What the app's installation may do."""
        self.token_lifetime = 3600.0
        """Seconds."""
        self.tokens: dict[str, dict[str, str]] = {}
        """The installation's, with what each may do."""

    def states(self, environment: str) -> dict[str, list[str]]:
        """The states that the environment's deployments had, by their commits."""
        found: dict[str, list[str]] = {}
        for deployment in self.deployments:
            if deployment["environment"] == environment:
                states = [status["state"] for status in deployment["statuses"]]
                assert deployment["sha"] not in found, "two deployments of one commit"
                found[deployment["sha"]] = states
        return found

    def authorised(self, request: Request) -> bool:
        if request.headers.get("accept") != "application/vnd.github+json":
            raise WrongError(415, "another media type")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if request.parts[-1] == "installation" or request.parts[0] == "app":
            return scheme == "Bearer" and self._is_app(token)
        return scheme == "Bearer" and (token in self.tokens if self.app else token == self.token)

    def error(self, status: int, message: str) -> Answer:
        return Answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest"})

    def answer(self, request: Request) -> Answer:
        if request.parts[:1] == ["app"]:
            return self._access_token(request)
        if request.parts[:3] != ["repos", TEAM, NAME]:
            return self.error(404, "Not Found")
        match request.method, request.parts[3:]:
            case "GET", []:
                return Answer(200, {"full_name": f"{TEAM}/{NAME}"})
            case "GET", ["installation"]:
                return Answer(200, {"id": 4711, "permissions": self.granted})
            case "GET", ["branches"]:
                return self._page(request, [{"name": name, "protected": False} for name in self.branches])
            case "GET", ["git", "ref", "heads", *name]:
                branch = "/".join(name)
                return Answer(200, {"ref": f"refs/heads/{branch}"}) if branch in self.branches else self._missing()
            case _, ["hooks", *rest]:
                return self._hooks(request, rest)
            case "GET", ["pulls"]:
                return self._page(request, [self._pull(number) for number in self._asked_for(request)])
            case "GET", ["pulls", number]:
                return Answer(200, self._pull(int(number))) if int(number) in self.pulls else self._missing()
            case _, ["issues", *rest]:
                return self._comments(request, rest)
            case "POST", ["statuses", commit]:
                return self._status(request, commit)
            case _, ["deployments", *rest]:
                return self._deployments(request, rest)
        return self._missing()

    def _status(self, request: Request, commit: str) -> Answer:
        optional = {"target_url": URL, "description": text(140), "context": text()}
        body = check(request.body, {"state": one_of("error", "failure", "pending", "success")}, optional)
        if commit not in self.commits:
            return self.error(422, f"No commit found for SHA: {commit}")
        self.statuses.append({"sha": commit, **body})
        return Answer(201, body)

    def _deployments(self, request: Request, rest: list[str]) -> Answer:
        match request.method, rest:
            case "GET", []:
                name = request.one("environment")
                return self._page(request, [each for each in self.deployments[::-1] if each["environment"] == name])
            case "POST", []:
                optional = {
                    "task": text(),
                    "auto_merge": BOOLEAN,
                    "required_contexts": {"type": ["array", "null"], "items": {"type": "string"}},
                    "payload": {},
                    "environment": text(255),
                    "description": text(140),
                    "transient_environment": BOOLEAN,
                    "production_environment": BOOLEAN,
                }
                body = check(request.body, {"ref": text(shortest=1)}, optional)
                if body["ref"] not in self.commits:
                    return self.error(422, f"No ref found for: {body['ref']}")
                if body.get("auto_merge", True) or body.get("required_contexts", True) != []:
                    return self.error(409, "Conflict: Commit status checks failed for the ref.")
                deployment = {"id": self.new_id(), "sha": body["ref"], **body, "statuses": []}
                self.deployments.append(deployment)
                return Answer(201, deployment)
            case method, [number, "statuses"]:
                (deployment,) = [each for each in self.deployments if each["id"] == int(number)]
                if method == "GET":
                    return self._page(request, deployment["statuses"][::-1])
                optional = {
                    "environment_url": URL,
                    "log_url": URL,
                    "description": text(140),
                    "auto_inactive": BOOLEAN,
                }
                body = check(request.body, {"state": one_of(*_STATES)}, optional)
                deployment["statuses"].append({"id": self.new_id(), **body})
                return Answer(201, body)
        return self._missing()

    def _hooks(self, request: Request, rest: list[str]) -> Answer:
        config = {
            "type": "object",
            "properties": {
                "url": URL,
                "content_type": one_of("json", "form"),
                "secret": text(shortest=1),
                "insecure_ssl": one_of("0"),
            },
            "required": ["url", "content_type", "secret", "insecure_ssl"],
            "additionalProperties": False,
        }
        schema = {"config": config}, {"name": one_of("web"), "events": EVENTS, "active": BOOLEAN}
        match request.method, rest:
            case "GET", []:
                hidden = [{**hook, "config": {**hook["config"], "secret": "********"}} for hook in self.hooks]
                return self._page(request, hidden)
            case "POST", []:
                self.hooks.append({"id": self.new_id(), **check(request.body, *schema)})
                return Answer(201, self.hooks[-1])
            case "PATCH", [number]:
                (hook,) = [hook for hook in self.hooks if hook["id"] == int(number)]
                hook.update(check(request.body, *schema))
                return Answer(200, hook)
            case "DELETE", [number]:
                self.hooks = [hook for hook in self.hooks if hook["id"] != int(number)]
                return Answer(204)
        return self._missing()

    def _comments(self, request: Request, rest: list[str]) -> Answer:
        body = {"body": text(65_536, shortest=1)}
        match request.method, rest:
            case "GET", [number, "comments"] if int(number) in self.pulls:
                return self._page(request, self.pulls[int(number)].comments)
            case "POST", [number, "comments"] if int(number) in self.pulls:
                comment = {"id": self.new_id(), **check(request.body, body)}
                self.pulls[int(number)].comments.append(comment)
                return Answer(201, comment)
            case "PATCH", ["comments", identity]:
                return self.edited(identity, **check(request.body, body))
        return self._missing()

    def _asked_for(self, request: Request) -> list[int]:
        head, state = request.one("head"), request.one("state", "open")
        if head and not head.startswith(f"{TEAM}:"):
            return []
        return [
            number
            for number, pull in self.pulls.items()
            if (pull.open or state == "all") and (not head or (pull.branch == head.partition(":")[2] and not pull.fork))
        ]

    def _pull(self, number: int) -> dict[str, Any]:
        pull = self.pulls[number]
        owner = "stranger" if pull.fork else "Team"
        repository = {"full_name": f"{owner}/{NAME}"}
        return {"number": number, "head": {"ref": pull.branch, "repo": repository}, "state": "open"}

    def _page(self, request: Request, items: list[Any]) -> Answer:
        size, page = min(int(request.one("per_page", "30")), 100), int(request.one("page", "1"))
        last = -(-len(items) // size)
        links = [f'<{self.url}/next?page={page + 1}>; rel="next"'] if page < last else []
        links += [f'<{self.url}/first?page=1>; rel="first"'] if page > 1 else []
        return Answer(200, items[size * (page - 1) : size * page], {"Link": ", ".join(links)} if links else {})

    def _missing(self) -> Answer:
        return self.error(404, "Not Found")

    # Apps

    def _is_app(self, token: str) -> bool:
        """As GitHub checks it, to the second."""
        assert self.app
        head, claims, signature = token.split(".")
        try:
            self.app.verify(_decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        document, now = json.loads(_decoded(claims)), time.time()
        return (
            json.loads(_decoded(head))["alg"] == "RS256"
            and document["iss"] == self.client_id
            and document["iat"] <= now < document["exp"] <= now + 600
        )

    def _access_token(self, request: Request) -> Answer:
        if request.method != "POST" or request.parts != ["app", "installations", "4711", "access_tokens"]:
            return self._missing()
        names = {"type": "array", "items": {"type": "string"}}
        body = check(request.body, {}, {"repositories": names, "permissions": {"type": "object"}})
        if body["repositories"] != [NAME]:
            raise WrongError(422, "There is at least one repository that does not exist or is not accessible")
        if any(self.granted.get(name) not in (level, "write") for name, level in body["permissions"].items()):
            raise WrongError(422, "The permissions requested are not granted to this installation.")
        token = f"ghs_{self.new_id()}"
        self.tokens[token] = body["permissions"]
        expires = datetime.now(UTC) + timedelta(seconds=self.token_lifetime)
        return Answer(201, {"token": token, "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
