"""Keeps one comment on a branch's pull requests in step with the deploy: where it is served, or why it isn't.

Run by action.yml after the deploy, with the file of its JSON; all else is in environment variables. The comment is
found again by a marker that it starts with and that readers don't see, so it is edited and not written anew. Removing
an environment edits comments that are there, and writes none. A comment that can't be written is a warning: the branch
has its URL nevertheless.
https://docs.github.com/en/rest/issues/comments
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

_PAGE = 100
"""Comments a page, the most that GitHub gives."""
_LONGEST = 10_000
"""Characters of what a container printed that are shown, the last ones. A comment may have 65,536."""
_SECONDS = 30


def main(file: str) -> None:
    """Does what the environment says, and warns where GitHub refuses."""
    try:
        text = removed() if os.environ["COMMAND"] == "destroy" else deployed(Path(file))
        if text is not None:
            write(text, edit_only=os.environ["COMMAND"] == "destroy")
    except urllib.error.HTTPError as error:
        hint = "; give the job the permission 'pull-requests: write'" if error.code in (403, 404) else ""
        _say(f"::warning::No comment on the pull request: GitHub answered {error.code} {error.reason}{hint}.")
    except OSError as error:
        _say(f"::warning::No comment on the pull request: {error}.")


def removed() -> str:
    """What the comment says once the environment is gone."""
    return "The branch's environment is removed."


def deployed(file: Path) -> str | None:
    """What the comment says after a deploy; None where a newer one says it, or there is nothing to say."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None  # killed before it could tell
    if "url" in document:
        release, seconds = document["release"]["number"], document["seconds"]["total"]
        return f"<{document['url']}> serves {document['commit']} (release {release}, {seconds:.0f} s)."
    if document["exit_code"] == 0:
        return None
    details = "\n".join(document["details"])[-_LONGEST:]
    error = "\n".join(filter(None, [document["error"], document["remedy"], details]))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", error)), default=0))
    return f"The deploy failed. What served before, if anything did, goes on serving.\n\n{fence}text\n{error}\n{fence}"


def write(text: str, *, edit_only: bool) -> None:
    """Puts the comment on each pull request of the branch, in place of the one that is there."""
    marker = f"<!-- branchline:{hashlib.sha256(os.environ['SUBJECT'].encode()).hexdigest()[:16]} -->"
    body = {"body": f"{marker}\n{text}"}
    requests = pull_requests(os.environ["BRANCH"], everything=edit_only)
    if not requests:
        _say(f"No pull request of {os.environ['BRANCH']} to comment on.")
    for number in requests:
        present = comment(number, marker)
        if present is not None:
            _ask("PATCH", f"issues/comments/{present}", body)
        elif not edit_only:
            _ask("POST", f"issues/{number}/comments", body)


def pull_requests(branch: str, *, everything: bool) -> list[int]:
    """The numbers of the branch's pull requests, those of this repository and not of forks; closed ones on demand."""
    head = f"{os.environ['GITHUB_REPOSITORY'].partition('/')[0]}:{branch}"
    query = urllib.parse.urlencode({"head": head, "state": "all" if everything else "open", "per_page": _PAGE})
    return [found["number"] for found in _ask("GET", f"pulls?{query}") if found["head"]["ref"] == branch]


def comment(number: int, marker: str) -> int | None:
    """The id of our comment on a pull request. One that quotes it doesn't start with the marker."""
    page = 1
    while True:
        found = _ask("GET", f"issues/{number}/comments?per_page={_PAGE}&page={page}")
        for each in found:
            if (each["body"] or "").startswith(marker):
                return each["id"]
        if len(found) < _PAGE:
            return None
        page += 1


def _ask(method: str, path: str, body: dict[str, str] | None = None) -> Any:
    """One request to GitHub's REST API, or that of a GitHub Enterprise Server, as the runner names it."""
    request = urllib.request.Request(  # noqa: S310 (the runner's own variable, and not what a user gives)
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


def _say(text: str) -> None:
    """A line in the job's log; `::warning::` is shown beside it. No more than a line: GitHub obeys what begins so."""
    sys.stdout.write(" ".join(text.splitlines()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
