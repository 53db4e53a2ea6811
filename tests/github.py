"""GitHub's REST API, as far as the action's comment needs it, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY = "team/shop"
TOKEN = "token-of-the-job"


@dataclass
class GitHub:
    """A repository with pull requests and their comments."""

    url: str = ""
    branches: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    """Each pull request's branch, and whether it is open or closed."""
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict[int, list[dict[str, Any]]])
    refusal: int = 0
    """The status that every request is refused with."""

    @property
    def environment(self) -> dict[str, str]:
        """What a runner tells its jobs."""
        return {"GITHUB_API_URL": self.url, "GITHUB_REPOSITORY": REPOSITORY}

    def open(self, number: int, branch: str, *, state: str = "open", comments: tuple[str, ...] = ()) -> None:
        """Makes a pull request, with comments of others."""
        self.branches[number] = branch, state
        self.comments[number] = [{"id": 1000 * number + at, "body": body} for at, body in enumerate(comments)]

    def bodies(self, number: int) -> list[str]:
        return [comment["body"] for comment in self.comments[number]]

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """As the documentation has it: https://docs.github.com/en/rest/pulls/pulls and rest/issues/comments"""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.refusal:
            return self.refusal, {"message": "Resource not accessible by integration"}
        match method, parts.path.removeprefix(f"/repos/{REPOSITORY}/").split("/"):
            case "GET", ["pulls"]:
                wanted = query["head"].removeprefix("team:")
                return 200, [
                    {"number": number, "head": {"ref": branch}, "state": state}
                    for number, (branch, state) in self.branches.items()
                    if branch == wanted and query["state"] in (state, "all")
                ]
            case "GET", ["issues", number, "comments"]:
                size, page = int(query["per_page"]), int(query["page"])
                return 200, self.comments[int(number)][size * (page - 1) : size * page]
            case "POST", ["issues", number, "comments"]:
                made = {"id": 1000 * int(number) + len(self.comments[int(number)]), "body": body["body"]}
                self.comments[int(number)].append(made)
                return 201, made
            case "PATCH", ["issues", "comments", identity]:
                (found,) = [each for all_ in self.comments.values() for each in all_ if each["id"] == int(identity)]
                found["body"] = body["body"]
                return 200, found
            case _:
                return 404, {"message": "Not Found"}


@contextmanager
def serving(github: GitHub) -> Iterator[GitHub]:
    """Answers on this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, document = 401, {"message": "Bad credentials"}
            else:
                status, document = github.answer(self.command, self.path, json.loads(raw) if raw else None)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        do_GET = do_POST = do_PATCH = _handle  # noqa: N815 (the base class's names)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        github.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield github
        finally:
            server.shutdown()
            thread.join()
