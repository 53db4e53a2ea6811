"""Bitbucket Cloud: https://developer.atlassian.com/cloud/bitbucket/rest/"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from branchline import naming
from branchline.environment import EnvironmentId
from branchline.forges.api.forge import PullRequest, RestForge, escaped, number_of
from branchline.forges.api.report import Report
from branchline.forges.api.rest import Api, Item, at

_STATUS = {"running": "INPROGRESS", "ready": "SUCCESSFUL", "failed": "FAILED"}
_CLOSED = "MERGED", "DECLINED", "SUPERSEDED"
_PULL_REQUESTS = 50
"""On a page, the most that Bitbucket gives."""


@dataclass(frozen=True)
class Bitbucket(RestForge):
    """Bitbucket Cloud, with the access token of a repository, a project or a workspace."""

    api_url: str = "https://api.bitbucket.org/2.0"
    token: str = field(default="", repr=False)

    marker: ClassVar[str] = "[//]: # (branchline:{})"
    """A link's target that no link has: Bitbucket shows HTML, comments included, as text."""
    edit: ClassVar[str] = "PUT"

    @property
    def name(self) -> str:
        return "bitbucket"

    @property
    def home(self) -> str:
        return "https://bitbucket.org"

    def api(self, _path: str, /) -> Api:
        return Api(self.api_url.rstrip("/"), {"authorization": f"Bearer {self.token}"})

    def repository_at(self, path: str) -> str:
        return f"/repositories/{escaped(path)}"

    def branch_names(self, api: Api, path: str) -> Iterator[object]:
        return (at(item, "name") for item in api.linked(f"{self.repository_at(path)}/refs/branches", size=100))

    def branch_at(self, path: str, branch: str) -> str:
        return f"{self.repository_at(path)}/refs/branches/{escaped(branch)}"

    def hooks(self, api: Api, path: str) -> Iterator[tuple[str, Item]]:
        items = api.linked(f"{self.repository_at(path)}/hooks", size=100)
        return ((str(item.get("url")), item) for item in items)

    def hook(self, url: str, secret: str) -> Item:
        """https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/"""
        pull_requests = [f"pullrequest:{what}" for what in ("created", "fulfilled", "rejected", "updated")]
        return {
            "description": "Branchline",
            "url": url,
            "active": True,
            "secret": secret,
            "events": [*pull_requests, "repo:push"],
        }

    def hook_at(self, path: str, hook: Item) -> str:
        """Its id is a UUID within braces."""
        return f"{self.repository_at(path)}/hooks/{escaped(str(hook.get('uuid')))}"

    def listed(self, api: Api, path: str, branch: str, *, closed: bool) -> Iterator[Item]:
        """https://developer.atlassian.com/cloud/bitbucket/rest/intro/#filtering"""
        states = "&".join(f"state={state}" for state in ("OPEN", *(_CLOSED if closed else ())))
        query = {"q": f"source.branch.name = {json.dumps(branch, ensure_ascii=False)}"} if branch else {}
        return api.linked(f"{self.repository_at(path)}/pullrequests?{states}", query, size=_PULL_REQUESTS)

    def pull_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/pullrequests/{number}"

    def pull_request(self, item: Item, path: str) -> PullRequest:
        repository = str(at(item, "source", "repository", "full_name")).lower()
        number = number_of(item.get("id"), "id of a pull request")
        return PullRequest(number, str(at(item, "source", "branch", "name")), own=repository == path.lower())

    def comments(self, api: Api, path: str, number: int) -> Iterator[tuple[str, str]]:
        place = self.comments_at(path, number)
        items = api.linked(place, size=100)
        present = (item for item in items if not item.get("deleted"))
        return ((f"{place}/{item.get('id')}", at(item, "content", "raw") or "") for item in present)

    def comments_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/pullrequests/{number}/comments"

    def written(self, text: str) -> Item:
        return {"content": {"raw": text}}

    def set_status(self, api: Api, path: str, report: Report) -> None:
        """Its key may have forty characters, and it must lead somewhere: if to nothing else, then to the commit.

        https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/
        """
        body = {
            "key": f"branchline-{naming.digest(report.context, 16)}",
            "name": report.context,
            "state": _STATUS[report.state],
            "description": report.description,
            "url": report.target or f"{self.home}/{escaped(path)}/commits/{escaped(report.commit)}",
        }
        api.ask("POST", f"{self.repository_at(path)}/commit/{escaped(report.commit)}/statuses/build", body)

    def set_deployment(self, api: Api, path: str, report: Report) -> None:
        """Bitbucket has deployments of its own pipelines only."""

    def retire(self, api: Api, path: str, environment: EnvironmentId) -> None:
        """So there is nothing to retire."""
