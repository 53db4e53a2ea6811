"""GitHub and GitHub Enterprise Server: https://docs.github.com/en/rest"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from branchline.environment import EnvironmentId
from branchline.forges.api.forge import PullRequest, RestForge, escaped, number_of
from branchline.forges.api.report import Report, environment_name
from branchline.forges.api.rest import Api, Item, at

if TYPE_CHECKING:  # what it needs isn't there in the Lambda
    from branchline.forges.api.github_app import App

_STATUS = {"running": "pending", "ready": "success", "failed": "failure"}
_DEPLOYMENT = {"running": "in_progress", "ready": "success", "failed": "failure"}
_LOOK_BACK = "30"
"""Deployments of an environment that are looked at. They were made inactive one by one, so more are hardly active."""


@dataclass(frozen=True)
class GitHub(RestForge):
    """GitHub, with a token or as an app."""

    url: str = "https://github.com"
    token: str = field(default="", repr=False)
    app: App | None = None

    @property
    def name(self) -> str:
        return "github"

    @property
    def home(self) -> str:
        return self.url

    def api(self, path: str) -> Api:
        token = self.app.token(path) if self.app else self.token
        return Api(api_base(self.url), HEADERS | {"authorization": f"Bearer {token}"})

    def repository_at(self, path: str) -> str:
        return f"/repos/{escaped(path)}"

    def branch_names(self, api: Api, path: str) -> Iterator[object]:
        return (at(item, "name") for item in api.list(f"{self.repository_at(path)}/branches"))

    def branch_at(self, path: str, branch: str) -> str:
        """The ref itself: asked for a branch, GitHub answers with the one that it was renamed to."""
        return f"{self.repository_at(path)}/git/ref/heads/{escaped(branch)}"

    def hooks(self, api: Api, path: str) -> Iterator[tuple[str, Item]]:
        return ((at(item, "config", "url"), item) for item in api.list(f"{self.repository_at(path)}/hooks"))

    def hook(self, url: str, secret: str) -> Item:
        """A branch that is made is a push too, so `create` isn't needed."""
        return {
            "name": "web",
            "active": True,
            "events": ["delete", "pull_request", "push"],
            "config": {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"},
        }

    def hook_at(self, path: str, hook: Item) -> str:
        return f"{self.repository_at(path)}/hooks/{number_of(hook.get('id'), 'id of a webhook')}"

    def listed(self, api: Api, path: str, branch: str, *, closed: bool) -> Iterator[Item]:
        query = {"state": "all" if closed else "open"}
        if branch:
            query["head"] = f"{path.partition('/')[0]}:{branch}"
        return api.list(f"{self.repository_at(path)}/pulls", query)

    def pull_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/pulls/{number}"

    def pull_request(self, item: Item, path: str) -> PullRequest:
        """The repository of a fork that was deleted is null."""
        repository = str(at(item, "head", "repo", "full_name")).lower()
        number = number_of(item.get("number"), "number of a pull request")
        return PullRequest(number, str(at(item, "head", "ref")), own=repository == path.lower())

    def comments(self, api: Api, path: str, number: int) -> Iterator[tuple[str, str]]:
        place = f"{self.repository_at(path)}/issues/comments"
        return (
            (f"{place}/{item.get('id')}", item.get("body") or "") for item in api.list(self.comments_at(path, number))
        )

    def comments_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/issues/{number}/comments"

    def set_status(self, api: Api, path: str, report: Report) -> None:
        """https://docs.github.com/en/rest/commits/statuses#create-a-commit-status"""
        body = {"state": _STATUS[report.state], "description": report.description, "context": report.context}
        if report.target:
            body["target_url"] = report.target
        api.ask("POST", f"{self.repository_at(path)}/statuses/{escaped(report.commit)}", body)

    def set_deployment(self, api: Api, path: str, report: Report) -> None:
        """Has one deployment for the commit, in this state; once it is ready, the earlier ones are inactive.

        What is deployed again while it serves stays a success: mostly, nothing will have changed.

        https://docs.github.com/en/rest/deployments/statuses#create-a-deployment-status
        """
        deployments = self._deployments(api, path, environment_name(report.environment))
        if deployments and deployments[0].get("sha") == report.commit:
            current, *earlier = deployments
            last = self._last_status(api, path, current)
        else:
            current, earlier = self._deployment(api, path, report), deployments
            last = Item()
        status = {"state": _DEPLOYMENT[report.state]}
        status |= {"environment_url": report.url} if report.url else {}
        status |= {"log_url": report.logs} if report.logs else {}
        known = all(last.get(key) == value for key, value in status.items())
        if not known and not (report.state == "running" and last.get("state") == "success"):
            body = {**status, "description": report.description, "auto_inactive": False}
            api.ask("POST", f"{self._deployment_at(path, current)}/statuses", body)
        if report.state == "ready":
            self._make_inactive(api, path, earlier)

    def retire(self, api: Api, path: str, environment: EnvironmentId) -> None:
        """GitHub shows a transient deployment that is inactive as destroyed."""
        self._make_inactive(api, path, self._deployments(api, path, environment_name(environment)))

    def _deployment(self, api: Api, path: str, report: Report) -> Item:
        """Makes one. It isn't merged with anything, and waits for no other status: it is happening already."""
        body: Item = {
            "ref": report.commit,
            "environment": environment_name(report.environment),
            "description": "by Branchline",
            "auto_merge": False,
            "required_contexts": [],
            "transient_environment": True,
            "production_environment": False,
        }
        return api.object(api.ask("POST", f"{self.repository_at(path)}/deployments", body))

    def _deployments(self, api: Api, path: str, environment: str) -> list[Item]:
        """The environment's latest deployments, newest first."""
        query = {"environment": environment, "per_page": _LOOK_BACK}
        found = api.page(f"{self.repository_at(path)}/deployments", query)
        return sorted(found, key=_id, reverse=True)

    def _make_inactive(self, api: Api, path: str, deployments: list[Item]) -> None:
        """Those that are or were on their way, or serve. Failed ones stay so.

        GitHub does so by itself, but not with transient ones. They are in order, newest first, and are made inactive
        from the oldest on, so that when this is killed, those before the first inactive one are all that is left to do.
        https://docs.github.com/en/rest/deployments/deployments#inactive-deployments
        """
        active: list[Item] = []
        for deployment in deployments:
            state = self._last_status(api, path, deployment).get("state")
            if state == "inactive":
                break
            if state not in ("failure", "error"):
                active.append(deployment)
        for deployment in reversed(active):
            place = f"{self._deployment_at(path, deployment)}/statuses"
            api.ask("POST", place, {"state": "inactive", "auto_inactive": False})

    def _last_status(self, api: Api, path: str, deployment: Item) -> Item:
        statuses = api.page(f"{self._deployment_at(path, deployment)}/statuses", {"per_page": "100"})
        return max(statuses, key=_id, default=Item())

    def _deployment_at(self, path: str, deployment: Item) -> str:
        return f"{self.repository_at(path)}/deployments/{_id(deployment)}"


HEADERS = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}


def api_base(url: str) -> str:
    """Where the API of the GitHub at this URL is.

    https://docs.github.com/en/enterprise-server@latest/rest/quickstart
    https://docs.github.com/en/enterprise-cloud@latest/admin/data-residency/about-storage-of-your-data-with-data-residency
    """
    parts = urlsplit(url)
    host = parts.netloc.lower()
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"{parts.scheme}://api.{host}"
    return f"{url.rstrip('/')}/api/v3"


def _id(item: Item) -> int:
    return number_of(item.get("id"), "id")
