"""Gitea and Forgejo, whose API is the same as far as it is used here: https://docs.gitea.com/api/

It is GitHub's in large parts, but for what is said here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from branchline.environment import EnvironmentId
from branchline.forges.api.forge import PullRequest, RestForge, escaped, number_of
from branchline.forges.api.report import Report
from branchline.forges.api.rest import Api, Item, at

_STATUS = {"running": "pending", "ready": "success", "failed": "failure"}
_PAGE = 50
"""Items, the most that Gitea gives unless its operator sets another limit."""


@dataclass(frozen=True)
class Gitea(RestForge):
    """Gitea or Forgejo, with a user's token."""

    url: str
    token: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        return "gitea"

    @property
    def home(self) -> str:
        return self.url

    def api(self, _path: str, /) -> Api:
        return Api(f"{self.url.rstrip('/')}/api/v1", {"authorization": f"token {self.token}"})

    def repository_at(self, path: str) -> str:
        return f"/repos/{escaped(path)}"

    def branch_names(self, api: Api, path: str) -> Iterator[object]:
        return (at(item, "name") for item in _list(api, f"{self.repository_at(path)}/branches"))

    def branch_at(self, path: str, branch: str) -> str:
        return f"{self.repository_at(path)}/branches/{escaped(branch)}"

    def hooks(self, api: Api, path: str) -> Iterator[tuple[str, Item]]:
        return ((str(at(item, "config", "url")), item) for item in _list(api, f"{self.repository_at(path)}/hooks"))

    def hook(self, url: str, secret: str) -> Item:
        """Here, `pull_request` is all that happens to one: new commits and labels too."""
        return {
            "type": "gitea",
            "active": True,
            "events": ["delete", "pull_request", "push"],
            "config": {"url": url, "content_type": "json", "secret": secret},
        }

    def hook_at(self, path: str, hook: Item) -> str:
        return f"{self.repository_at(path)}/hooks/{number_of(hook.get('id'), 'id of a webhook')}"

    def listed(self, api: Api, path: str, _branch: str, /, *, closed: bool) -> Iterator[Item]:
        """They can't be asked for by their branch. Of the closed ones, the page that changed last has to do."""
        place = f"{self.repository_at(path)}/pulls"
        items = _list(api, place, {"state": "open"})
        if not closed:
            return items
        latest = api.page(place, {"state": "closed", "sort": "recentupdate", "limit": str(_PAGE)})
        return itertools.chain(items, latest)

    def pull_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/pulls/{number}"

    def pull_request(self, item: Item, _path: str, /) -> PullRequest:
        """The branch is its label: its ref is another once the branch is gone. A fork may have been deleted."""
        own = at(item, "head", "repo_id") == at(item, "base", "repo_id")
        number = number_of(item.get("number"), "number of a pull request")
        return PullRequest(number, str(at(item, "head", "label") or at(item, "head", "ref")), own=own)

    def comments(self, api: Api, path: str, number: int) -> Iterator[tuple[str, str]]:
        place = f"{self.repository_at(path)}/issues/comments"
        items = _list(api, self.comments_at(path, number))
        return ((f"{place}/{item.get('id')}", item.get("body") or "") for item in items)

    def comments_at(self, path: str, number: int) -> str:
        return f"{self.repository_at(path)}/issues/{number}/comments"

    def set_status(self, api: Api, path: str, report: Report) -> None:
        body = {"state": _STATUS[report.state], "description": report.description, "context": report.context}
        if report.target:
            body["target_url"] = report.target
        api.ask("POST", f"{self.repository_at(path)}/statuses/{escaped(report.commit)}", body)

    def set_deployment(self, api: Api, path: str, report: Report) -> None:
        """Gitea has none."""

    def retire(self, api: Api, path: str, environment: EnvironmentId) -> None:
        """So there is nothing to retire."""


def _list(api: Api, path: str, query: Mapping[str, str] | None = None) -> Iterator[Item]:
    return api.list(path, query, size_name="limit", size=_PAGE)
