"""GitLab's REST API, as its documentation has it: https://docs.gitlab.com/api/rest/"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from tests.forge_stand_ins.server import (
    BOOLEAN,
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

_GROUP = f"{TEAM}/web"
_DEPLOYMENT = ("running", "success", "failed", "canceled")
_ENVIRONMENT = re.compile(r"[a-zA-Z0-9_${}. -]([a-zA-Z0-9_/${}. -]*[a-zA-Z0-9_${}. -])?")


class GitLabStandIn(StandIn):
    """With its repository in a subgroup: `team/web/shop`."""

    prefix = "/api/v4"

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[dict[str, Any]] = []
        self.environments: list[dict[str, Any]] = []
        self.deployments: list[dict[str, Any]] = []

    @property
    def repository(self) -> str:
        return f"{self.url}/{_GROUP}/{NAME}.git"

    def authorised(self, request: Request) -> bool:
        return request.headers.get("private-token") == self.token

    def error(self, status: int, message: str) -> Answer:
        return Answer(status, {"message": message})

    def answer(self, request: Request) -> Answer:
        raw = request.path.strip("/").split("/")
        if raw[0] != "projects" or unquote(raw[1]) != f"{_GROUP}/{NAME}":
            return self.error(404, "404 Project Not Found")
        match request.method, [unquote(part) for part in raw[2:]]:
            case "GET", []:
                return Answer(200, {"path_with_namespace": f"{_GROUP}/{NAME}"})
            case "GET", ["repository", "branches"]:
                return self._page(request, [{"name": name} for name in self.branches])
            case "GET", ["repository", "branches", name]:
                known = name in self.branches
                return Answer(200, {"name": name}) if known else self.error(404, "404 Branch Not Found")
            case _, ["hooks", *rest]:
                return self._hooks(request, rest)
            case "GET", ["merge_requests"]:
                return self._page(request, self._asked_for(request))
            case "GET", ["merge_requests", number] if int(number) in self.pulls:
                return Answer(200, self._merge_request(int(number)))
            case _, ["merge_requests", number, "notes", *rest] if int(number) in self.pulls:
                return self._notes(request, int(number), rest)
            case "POST", ["statuses", commit]:
                return self._status(request, commit)
            case _, ["environments", *rest]:
                return self._environments(request, rest)
            case _, ["deployments", *rest]:
                return self._deployments(request, rest)
        return self.error(404, "404 Not Found")

    def _status(self, request: Request, commit: str) -> Answer:
        """What runs already can't begin to run; what has ended is followed by another of the same name."""
        optional = {
            "ref": text(255),
            "name": text(255),
            "target_url": URL,
            "description": text(255),
            "pipeline_id": {"type": "integer"},
        }
        states = one_of("pending", "running", "success", "failed", "canceled", "skipped")
        body = check(request.body, {"state": states}, optional, status=400)
        if commit not in self.commits:
            return self.error(404, "404 Commit Not Found")
        same = [each for each in self.statuses if (each["sha"], each["name"]) == (commit, body["name"])]
        if same and same[-1]["state"] == body["state"] == "running":
            reason = 'Cannot transition status via :run from :running (Reason(s): Status cannot transition via "run")'
            return self.error(400, reason)
        if same and same[-1]["state"] == "running":
            same[-1].update(body)
        else:
            self.statuses.append({"sha": commit, **body})
        return Answer(201, body)

    def _environments(self, request: Request, rest: list[str]) -> Answer:
        tiers = one_of("production", "staging", "testing", "development", "other")
        match request.method, rest:
            case "GET", []:
                return self._page(request, [each for each in self.environments if each["name"] == request.one("name")])
            case "POST", []:
                body = check(request.body, {"name": text(255, 1)}, {"external_url": URL, "tier": tiers}, status=400)
                if not _ENVIRONMENT.fullmatch(body["name"]):
                    raise WrongError(400, "name can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.'")
                self.environments.append({"id": self.new_id(), "state": "available", "external_url": None, **body})
                return Answer(201, self.environments[-1])
            case "PUT", [number]:
                (environment,) = [each for each in self.environments if each["id"] == int(number)]
                environment.update(check(request.body, {}, {"external_url": URL, "tier": tiers}, status=400))
                return Answer(200, environment)
            case "POST", [number, "stop"]:
                (environment,) = [each for each in self.environments if each["id"] == int(number)]
                environment["state"] = "stopped"
                return Answer(200, environment)
        return self.error(404, "404 Not Found")

    def _deployments(self, request: Request, rest: list[str]) -> Answer:
        match request.method, rest:
            case "GET", []:
                if (request.one("order_by"), request.one("sort")) != ("id", "desc"):
                    raise WrongError(400, "not in the order that the test expects")
                name = request.one("environment")
                return self._page(request, [each for each in self.deployments[::-1] if each["environment"] == name])
            case "POST", []:
                required = {
                    "environment": text(255, 1),
                    "sha": text(64, 40),
                    "ref": text(255, 1),
                    "tag": BOOLEAN,
                    "status": one_of(*_DEPLOYMENT),
                }
                body = check(request.body, required, status=400)
                (environment,) = [each for each in self.environments if each["name"] == body["environment"]]
                self.deployments.append({"id": self.new_id(), **body})
                environment["state"] = "available"
                return Answer(201, self.deployments[-1])
            case "PUT", [number]:
                (deployment,) = [each for each in self.deployments if each["id"] == int(number)]
                body = check(request.body, {"status": one_of(*_DEPLOYMENT)}, status=400)
                if deployment["status"] not in ("created", "running"):
                    raise WrongError(400, "Status cannot transition")
                deployment.update(body)
                return Answer(200, deployment)
        return self.error(404, "404 Not Found")

    def _hooks(self, request: Request, rest: list[str]) -> Answer:
        names = ("push_events", "merge_requests_events", "tag_push_events", "issues_events", "note_events")
        optional = {**dict.fromkeys(names, BOOLEAN), "token": text(shortest=1), "enable_ssl_verification": one_of(True)}
        match request.method, rest:
            case "GET", []:
                told = [{key: value for key, value in hook.items() if key != "token"} for hook in self.hooks]
                return self._page(request, told)
            case "POST", []:
                self.hooks.append({"id": self.new_id(), **check(request.body, {"url": URL}, optional, status=400)})
                return Answer(201, self.hooks[-1])
            case "PUT", [number]:
                (hook,) = [hook for hook in self.hooks if hook["id"] == int(number)]
                hook.update(check(request.body, {"url": URL}, optional, status=400))
                return Answer(200, hook)
            case "DELETE", [number]:
                self.hooks = [hook for hook in self.hooks if hook["id"] != int(number)]
                return Answer(204)
        return self.error(404, "404 Not Found")

    def _notes(self, request: Request, number: int, rest: list[str]) -> Answer:
        match request.method, rest:
            case "GET", []:
                system = {"id": 1, "body": "<!-- branchline: added 1 commit", "system": True}
                return self._page(request, [system, *self.pulls[number].comments])
            case "POST", []:
                body = check(request.body, {"body": text(1_000_000, 1)}, status=400)
                _refuse_quick_actions(body["body"])
                self.pulls[number].comments.append({"id": self.new_id(), "system": False, **body})
                return Answer(201, self.pulls[number].comments[-1])
            case "PUT", [identity]:
                body = check(request.body, {"body": text(1_000_000, 1)}, status=400)
                _refuse_quick_actions(body["body"])
                return self.edited(identity, **body)
        return self.error(404, "404 Not Found")

    def _asked_for(self, request: Request) -> list[dict[str, Any]]:
        branch, state = request.one("source_branch"), request.one("state", "all")
        if state not in ("all", "opened", "closed", "merged", "locked"):
            raise WrongError(400, "state does not have a valid value")
        return [
            self._merge_request(number)
            for number, pull in self.pulls.items()
            if (pull.open or state == "all") and branch in ("", pull.branch)
        ]

    def _merge_request(self, number: int) -> dict[str, Any]:
        pull = self.pulls[number]
        source = 99 if pull.fork else 7
        return {
            "iid": number,
            "id": 5000,
            "source_branch": pull.branch,
            "source_project_id": source,
            "target_project_id": 7,
        }

    def _page(self, request: Request, items: list[Any]) -> Answer:
        size, page = min(int(request.one("per_page", "20")), 100), int(request.one("page", "1"))
        more = len(items) > size * page
        headers = {"X-Next-Page": str(page + 1) if more else "", "X-Total": str(len(items))}
        return Answer(200, items[size * (page - 1) : size * page], headers)


def _refuse_quick_actions(body: str) -> None:
    """GitLab carries out what a line begins with, unless it is between two lines of three backticks."""
    outside = re.sub("(?ms)^```.+?\n```$", "", body)
    if re.search("(?m)^/[a-z]", outside):
        raise WrongError(400, "the comment holds a quick action")
