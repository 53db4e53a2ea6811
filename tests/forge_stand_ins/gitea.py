"""Gitea's REST API, as its documentation has it, and Forgejo's: https://docs.gitea.com/api/"""

from __future__ import annotations

from typing import Any

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

_ALL_OF_PULL_REQUESTS = ["pull_request", "pull_request_assign", "pull_request_label", "pull_request_sync"]


class GiteaStandIn(StandIn):
    """Below `/api/v1`, with at most thirty items a page, as its operator may have it."""

    prefix = "/api/v1"

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[dict[str, Any]] = []

    def authorised(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"token {self.token}"

    def error(self, status: int, message: str) -> Answer:
        return Answer(status, {"message": message, "url": f"{self.url}/api/swagger"})

    def answer(self, request: Request) -> Answer:
        missing = self.error(404, "The target couldn't be found.")
        if request.parts[:3] != ["repos", TEAM, NAME]:
            return missing
        match request.method, request.parts[3:]:
            case "GET", []:
                return Answer(200, {"full_name": f"{TEAM}/{NAME}"})
            case "GET", ["branches"]:
                return self._page(request, [{"name": name} for name in self.branches])
            case "GET", ["branches", *name]:
                branch = "/".join(name)
                return Answer(200, {"name": branch}) if branch in self.branches else missing
            case _, ["hooks", *rest]:
                return self._hooks(request, rest)
            case "GET", ["pulls"]:
                closed = request.one("state", "open") == "closed"
                return self._page(request, [self._pull(n) for n, pull in self.pulls.items() if pull.open != closed])
            case "GET", ["pulls", number] if int(number) in self.pulls:
                return Answer(200, self._pull(int(number)))
            case _, ["issues", *rest]:
                return self._comments(request, rest)
            case "POST", ["statuses", commit]:
                optional = {"target_url": URL, "description": text(), "context": text()}
                states = one_of("pending", "success", "error", "failure", "warning")
                body = check(request.body, {"state": states}, optional)
                if commit not in self.commits:
                    return missing
                self.statuses.append({"sha": commit, **body})
                return Answer(201, body)
        return missing

    def _hooks(self, request: Request, rest: list[str]) -> Answer:
        config = {
            "type": "object",
            "properties": {"url": URL, "content_type": one_of("json"), "secret": text(shortest=1)},
            "required": ["url", "content_type"],
            "additionalProperties": False,
        }
        optional = {"type": one_of("gitea"), "events": EVENTS, "active": BOOLEAN}
        match request.method, rest:
            case "GET", []:
                return self._page(request, [self._told(hook) for hook in self.hooks])
            case "POST", []:
                body = check(request.body, {"config": config}, optional)
                if "type" not in body:
                    raise WrongError(422, "[Type]: Required")
                self.hooks.append({"id": self.new_id(), **body})
                return Answer(201, self._told(self.hooks[-1]))
            case "PATCH", [number]:
                (hook,) = [hook for hook in self.hooks if hook["id"] == int(number)]
                hook.update(check(request.body, {"config": config}, optional))
                return Answer(200, self._told(hook))
            case "DELETE", [number]:
                self.hooks = [hook for hook in self.hooks if hook["id"] != int(number)]
                return Answer(204)
        return self.error(404, "The target couldn't be found.")

    def _told(self, hook: dict[str, Any]) -> dict[str, Any]:
        """Without its secret, and with every event of pull requests where `pull_request` was chosen."""
        events = [event for event in hook["events"] if event != "pull_request"]
        events += _ALL_OF_PULL_REQUESTS if "pull_request" in hook["events"] else []
        config = {key: value for key, value in hook["config"].items() if key != "secret"}
        return {**hook, "events": events, "config": config}

    def _comments(self, request: Request, rest: list[str]) -> Answer:
        """They are not in pages: a page's number is not heeded."""
        body = {"body": text(65_536, shortest=1)}
        match request.method, rest:
            case "GET", [number, "comments"] if int(number) in self.pulls:
                comments = self.pulls[int(number)].comments
                return Answer(200, comments, {"X-Total-Count": str(len(comments))})
            case "POST", [number, "comments"] if int(number) in self.pulls:
                comment = {"id": self.new_id(), **check(request.body, body)}
                self.pulls[int(number)].comments.append(comment)
                return Answer(201, comment)
            case "PATCH", ["comments", identity]:
                return self.edited(identity, **check(request.body, body))
        return self.error(404, "The target couldn't be found.")

    def _pull(self, number: int) -> dict[str, Any]:
        pull = self.pulls[number]
        ref = pull.branch if pull.branch in self.branches else f"refs/pull/{number}/head"
        head = {"label": pull.branch, "ref": ref, "repo_id": 99 if pull.fork else 7}
        return {"number": number, "head": head, "base": {"label": "main", "ref": "main", "repo_id": 7}}

    def _page(self, request: Request, items: list[Any]) -> Answer:
        size, page = min(int(request.one("limit", "30")), 30), int(request.one("page", "1"))
        headers = {"X-Total-Count": str(len(items))}
        if len(items) > size * page:
            headers["Link"] = f'<{self.url}/api/v1{request.path}?page={page + 1}>; rel="next"'
        return Answer(200, items[size * (page - 1) : size * page], headers)
