"""Bitbucket Cloud's REST API, as its documentation has it: https://developer.atlassian.com/cloud/bitbucket/rest/"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

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

_EVENT = re.compile("repo:push|pullrequest:(created|updated|fulfilled|rejected)")


class BitbucketStandIn(StandIn):
    """Below `/2.0`; its repository is at bitbucket.org, as far as git knows."""

    prefix = "/2.0"

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[dict[str, Any]] = []
        self.next_base = ""
        """Where the next page is said to be, if not here."""

    @property
    def repository(self) -> str:
        return f"https://bitbucket.org/{TEAM}/{NAME}.git"

    def text(self, comment: dict[str, Any]) -> str:
        return comment["content"]["raw"]

    def authorised(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.token}"

    def error(self, status: int, message: str) -> Answer:
        return Answer(status, {"type": "error", "error": {"message": message}})

    def answer(self, request: Request) -> Answer:
        if request.parts[:3] != ["repositories", TEAM, NAME]:
            return self.error(404, f"Repository {'/'.join(request.parts[1:3])} not found")
        match request.method, request.parts[3:]:
            case "GET", []:
                return Answer(200, {"full_name": f"{TEAM}/{NAME}"})
            case "GET", ["refs", "branches"]:
                return self._page(request, [{"type": "branch", "name": name} for name in self.branches])
            case "GET", ["refs", "branches", *name]:
                branch = "/".join(name)
                return Answer(200, {"name": branch}) if branch in self.branches else self.error(404, "No such branch")
            case _, ["hooks", *rest]:
                return self._hooks(request, rest)
            case "GET", ["pullrequests"]:
                return self._page(request, self._asked_for(request), most=50)
            case "GET", ["pullrequests", number] if int(number) in self.pulls:
                return Answer(200, self._pull(int(number)))
            case _, ["pullrequests", number, "comments", *rest] if int(number) in self.pulls:
                return self._comments(request, int(number), rest)
            case "POST", ["commit", commit, "statuses", "build"]:
                return self._status(request, commit)
        return self.error(404, "Resource not found")

    def _status(self, request: Request, commit: str) -> Answer:
        required = {
            "key": text(40, 1),
            "state": one_of("SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"),
            "url": URL,
        }
        body = check(request.body, required, {"name": text(255), "description": text(255)}, status=400)
        if commit not in self.commits:
            return self.error(404, "Commit not found")
        self.statuses = [each for each in self.statuses if (each["sha"], each["key"]) != (commit, body["key"])]
        self.statuses.append({"sha": commit, **body})
        return Answer(201, body)

    def _hooks(self, request: Request, rest: list[str]) -> Answer:
        schema = (
            {"url": URL, "events": EVENTS},
            {"description": text(255), "active": BOOLEAN, "secret": text(shortest=1)},
        )
        body = check(request.body, *schema, status=400) if request.body is not None else {}
        if not all(_EVENT.fullmatch(event) for event in body.get("events", [])):
            raise WrongError(400, "no such event")
        match request.method, rest:
            case "GET", []:
                told = [{key: value for key, value in hook.items() if key != "secret"} for hook in self.hooks]
                return self._page(request, [{**hook, "secret_set": True} for hook in told])
            case "POST", []:
                self.hooks.append({"uuid": f"{{{self.new_id()}}}", **body})
                return Answer(201, self.hooks[-1])
            case "PUT", [uuid]:
                (hook,) = [hook for hook in self.hooks if hook["uuid"] == uuid]
                hook.update(body)
                return Answer(200, hook)
            case "DELETE", [uuid]:
                self.hooks = [hook for hook in self.hooks if hook["uuid"] != uuid]
                return Answer(204)
        return self.error(404, "Resource not found")

    def _comments(self, request: Request, number: int, rest: list[str]) -> Answer:
        raw = {"type": "object", "properties": {"raw": text(32_768, 1)}, "additionalProperties": False}
        match request.method, rest:
            case "GET", []:
                deleted = {"id": 1, "deleted": True, "content": {"raw": ""}}
                return self._page(request, [deleted, *self.pulls[number].comments])
            case "POST", []:
                comment = {"id": self.new_id(), "deleted": False, **check(request.body, {"content": raw}, status=400)}
                self.pulls[number].comments.append(comment)
                return Answer(201, comment)
            case "PUT", [identity]:
                return self.edited(identity, **check(request.body, {"content": raw}, status=400))
        return self.error(404, "Resource not found")

    def _asked_for(self, request: Request) -> list[dict[str, Any]]:
        states, query = request.query.get("state", ["OPEN"]), request.one("q")
        wanted = re.fullmatch(r'source\.branch\.name = "((?:[^"\\]|\\.)*)"', query)
        if query and not wanted:
            raise WrongError(400, "Invalid query")
        branch = wanted[1].replace('\\"', '"') if wanted else ""
        return [
            self._pull(number)
            for number, pull in self.pulls.items()
            if (pull.open or "MERGED" in states) and branch in ("", pull.branch)
        ]

    def _pull(self, number: int) -> dict[str, Any]:
        pull = self.pulls[number]
        repository = {"full_name": f"{'stranger' if pull.fork else TEAM}/{NAME}"}
        return {"id": number, "source": {"branch": {"name": pull.branch}, "repository": repository}}

    def _page(self, request: Request, items: list[Any], most: int = 100) -> Answer:
        size, page = int(request.one("pagelen", "10")), int(request.one("page", "1"))
        if size > most:
            raise WrongError(400, "Invalid pagelen")
        body: dict[str, Any] = {"values": items[size * (page - 1) : size * page], "pagelen": size, "page": page}
        if len(items) > size * page:
            query = urlencode({**request.query, "page": [page + 1]}, doseq=True)
            body["next"] = f"{self.next_base or self.url + self.prefix}{request.path}?{query}"
        return Answer(200, body)
