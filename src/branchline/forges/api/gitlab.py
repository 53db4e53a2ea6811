"""GitLab, the one at gitlab.com and others: https://docs.gitlab.com/api/rest/"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from branchline.environment import EnvironmentId
from branchline.forges.api.forge import FORK, PullRequest, RestForge, escaped, number_of
from branchline.forges.api.report import Report, environment_name
from branchline.forges.api.rest import Api, Item, at, origin
from branchline.web import WebError

_STATUS = {"running": "running", "ready": "success", "failed": "failed"}
"""Commit statuses and deployments are called alike."""
_UNFINISHED = ("created", "running")


@dataclass(frozen=True)
class GitLab(RestForge):
    """GitLab, with the token of a project, a group or a user."""

    url: str = "https://gitlab.com"
    token: str = field(default="", repr=False)

    edit: ClassVar[str] = "PUT"

    @property
    def name(self) -> str:
        return "gitlab"

    @property
    def home(self) -> str:
        return self.url

    def api(self, _path: str, /) -> Api:
        return Api(f"{self.url.rstrip('/')}/api/v4", {"private-token": self.token})

    def repository_at(self, path: str) -> str:
        return f"/projects/{escaped(path, slashes=False)}"

    def branch_names(self, api: Api, path: str) -> Iterator[object]:
        return (at(item, "name") for item in api.list(f"{self.repository_at(path)}/repository/branches"))

    def branch_at(self, path: str, branch: str) -> str:
        return f"{self.repository_at(path)}/repository/branches/{escaped(branch, slashes=False)}"

    def hooks(self, api: Api, path: str) -> Iterator[tuple[str, Item]]:
        return ((str(item.get("url")), item) for item in api.list(f"{self.repository_at(path)}/hooks"))

    def hook(self, url: str, secret: str) -> Item:
        """A branch that is made or deleted is a push. https://docs.gitlab.com/api/project_webhooks/"""
        return {
            "url": url,
            "token": secret,
            "push_events": True,
            "merge_requests_events": True,
            "tag_push_events": False,
            "enable_ssl_verification": True,
        }

    def hook_at(self, path: str, hook: Item) -> str:
        return f"{self.repository_at(path)}/hooks/{number_of(hook.get('id'), 'id of a webhook')}"

    def listed(self, api: Api, path: str, branch: str, *, closed: bool) -> Iterator[Item]:
        query = {"state": "all" if closed else "opened"}
        if branch:
            query["source_branch"] = branch
        return api.list(f"{self.repository_at(path)}/merge_requests", query)

    def pull_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/merge_requests/{number}"

    def pull_request(self, item: Item, _path: str, /) -> PullRequest:
        own = item.get("source_project_id") == item.get("target_project_id")
        return PullRequest(number_of(item.get("iid"), "iid"), str(item.get("source_branch")), own=own)

    def comments(self, api: Api, path: str, number: int) -> Iterator[tuple[str, str]]:
        place = self.comments_at(path, number)
        items = api.list(place, {"sort": "asc", "order_by": "created_at"})
        return ((f"{place}/{item.get('id')}", item.get("body") or "") for item in items if not item.get("system"))

    def comments_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/merge_requests/{number}/notes"

    def set_status(self, api: Api, path: str, report: Report) -> None:
        """https://docs.gitlab.com/api/commits/#set-commit-pipeline-status

        What runs already can't be set to running once more: GitLab answers 400 then, and all is as it should be.
        """
        body = {
            "state": _STATUS[report.state],
            "name": report.context,
            "description": report.description,
            "ref": _ref(report.environment),
        }
        if report.target:
            body["target_url"] = report.target
        place = f"{self.repository_at(path)}/statuses/{escaped(report.commit)}"
        answer = api.ask("POST", place, body, accept=(400,))
        if answer.status == 400 and b"Cannot transition status" not in answer.body:
            raise WebError(f"{origin(api.base)} answers 400: {at(answer.json(), 'message')!s:.200}", status=400)

    def set_deployment(self, api: Api, path: str, report: Report) -> None:
        """Has one deployment for the commit, in this state. https://docs.gitlab.com/api/deployments/

        A later one takes an earlier one's place by itself. One of a commit that served in between is a new one: so
        GitLab's history tells of a way back too.
        """
        name, wanted = environment_name(report.environment), _STATUS[report.state]
        self._set_environment(api, path, name, report.url)
        place = f"{self.repository_at(path)}/deployments"
        query = {"environment": name, "order_by": "id", "sort": "desc", "per_page": "1"}
        latest = next(iter(api.page(place, query)), Item())
        state = latest.get("status") if latest.get("sha") == report.commit else ""
        if state == wanted or (state == "success" and wanted == "running"):
            return
        if state in _UNFINISHED:
            api.ask("PUT", f"{place}/{number_of(latest.get('id'), 'id of a deployment')}", {"status": wanted})
            return
        body = {"environment": name, "sha": report.commit, "ref": _ref(report.environment), "tag": False}
        api.ask("POST", place, {**body, "status": wanted})

    def retire(self, api: Api, path: str, environment: EnvironmentId) -> None:
        """https://docs.gitlab.com/api/environments/#stop-an-environment"""
        present = self._environment(api, path, environment_name(environment))
        if present and present.get("state") != "stopped":
            api.ask("POST", f"{self._environment_at(path, present)}/stop")

    def _set_environment(self, api: Api, path: str, name: str, url: str) -> None:
        """Has the environment, with its URL once that is known.

        A deployment would make it as well, but GitLab guesses its tier by its name then: production for `prod`.
        """
        present = self._environment(api, path, name)
        link = {"external_url": url} if url else {}
        if present is None:
            body = {"name": name, "tier": "development", **link}
            api.ask("POST", f"{self.repository_at(path)}/environments", body)
        elif link and present.get("external_url") != url:
            api.ask("PUT", self._environment_at(path, present), link)

    def _environment(self, api: Api, path: str, name: str) -> Item | None:
        found = api.page(f"{self.repository_at(path)}/environments", {"name": name})
        return next((item for item in found if item.get("name") == name), None)

    def _environment_at(self, path: str, environment: Item) -> str:
        number = number_of(environment.get("id"), "id of an environment")
        return f"{self.repository_at(path)}/environments/{number}"


def _ref(environment: EnvironmentId) -> str:
    """What GitLab has the commit under: the branch, or where it keeps a fork's merge request."""
    of_fork = FORK.fullmatch(environment.branch)
    return f"refs/merge-requests/{of_fork[1]}/head" if of_fork else environment.branch
