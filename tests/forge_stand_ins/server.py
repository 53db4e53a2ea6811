"""What the forges' stand-ins have in common: an HTTP server on this machine that checks what it is asked.

A request that the forge's documentation doesn't have is answered as the forge would, and is kept in `wrong` too, so
that no test passes with it.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from jsonschema import Draft202012Validator

TEAM, NAME = "team", "shop"
COMMITS = tuple(f"{digit}" * 40 for digit in "abcdef")
"""Those that the repository has."""


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    """Below the API's base, as it came: encoded, without the query."""
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any

    @property
    def parts(self) -> list[str]:
        return [unquote(part) for part in self.path.strip("/").split("/")]

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[-1]


@dataclass
class Answer:
    """What is answered. A string is sent as HTML."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Pull:
    """A pull request, maybe of a fork."""

    number: int
    branch: str
    fork: bool = False
    open: bool = True
    comments: list[dict[str, Any]] = field(default_factory=list)


class WrongError(Exception):
    """The request isn't as the forge's documentation has it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StandIn(ABC):
    """A forge with one repository, `team/shop`, used as a context manager."""

    prefix = ""
    """The path of the API."""
    token = "token-0123456789"

    def __init__(self) -> None:
        self.url = ""
        self.branches: list[str] = ["main", "feature/login"]
        self.commits = list(COMMITS)
        self.pulls: dict[int, Pull] = {}
        self.hooks: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.wrong: list[str] = []
        self.answers: list[tuple[str, Answer]] = []
        """What is answered in place of the next request whose method and path hold the text; each once."""
        self.refusals: dict[str, Answer] = {}
        """What is answered to every request whose method and path hold the text."""
        self._ids = iter(range(1001, 10_000))

    def new_id(self) -> int:
        return next(self._ids)

    @property
    def repository(self) -> str:
        """The clone URL."""
        return f"{self.url}/{TEAM}/{NAME}.git"

    def open(self, number: int, branch: str, *, fork: bool = False, open: bool = True) -> None:
        self.pulls[number] = Pull(number, branch, fork, open)

    def comments(self, number: int) -> list[str]:
        """The texts of a pull request's comments."""
        return [self.text(comment) for comment in self.pulls[number].comments]

    def text(self, comment: dict[str, Any]) -> str:
        return comment["body"]

    def asked(self, text: str) -> int:
        """How many requests there were whose method and path hold the text."""
        return sum(text in f"{request.method} {request.path}" for request in self.requests)

    @abstractmethod
    def authorised(self, request: Request) -> bool: ...

    @abstractmethod
    def answer(self, request: Request) -> Answer: ...

    @abstractmethod
    def error(self, status: int, message: str) -> Answer:
        """How the forge says that something is wrong."""

    def comment_at(self, identity: str) -> dict[str, Any] | None:
        all_ = [comment for pull in self.pulls.values() for comment in pull.comments]
        return next((comment for comment in all_ if str(comment["id"]) == identity), None)

    def edited(self, identity: str, **change: Any) -> Answer:
        """A comment with another text; one of somebody else can't be changed."""
        comment = self.comment_at(identity)
        if comment is None:
            return self.error(404, "Not Found")
        if comment.get("foreign"):
            return self.error(403, "Forbidden")
        comment.update(change)
        return Answer(200, comment)

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        line = f"{request.method} {request.path}"
        for at, (text, answer) in enumerate(self.answers):
            if text in line:
                del self.answers[at]
                return answer
        for text, answer in self.refusals.items():
            if text in line:
                return answer
        if not self.authorised(request):
            return self.error(401, "Unauthorized")
        try:
            return self.answer(request)
        except WrongError as error:
            self.wrong.append(f"{line}: {error}")
            return self.error(error.status, str(error))

    def __enter__(self) -> Any:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                target = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                if raw and headers.get("content-type") != "application/json":
                    stand_in.wrong.append(f"{self.command} {self.path}: the body's type is not JSON")
                if not target.path.startswith(f"{stand_in.prefix}/"):
                    answer = Answer(404, "<html>not the API</html>")
                else:
                    path = target.path.removeprefix(stand_in.prefix)
                    query = parse_qs(target.query, keep_blank_values=True, strict_parsing=bool(target.query))
                    body = json.loads(raw) if raw else None
                    answer = stand_in._answer(Request(self.command, path, query, headers, body))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                content = b""
                if answer.body is not None:
                    html = isinstance(answer.body, str)
                    content = answer.body.encode() if html else json.dumps(answer.body).encode()
                    self.send_header("Content-Type", "text/html" if html else "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815 (the base class's names)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def check(body: Any, required: dict[str, Any], optional: dict[str, Any] | None = None, *, status: int = 422) -> Any:
    """The body, if it has the required properties and no others but the optional ones.

    Raises:
        WrongError: it isn't so.
    """
    schema = {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }
    for error in Draft202012Validator(schema).iter_errors(body):
        raise WrongError(status, f"{error.json_path}: {error.message}")
    return body


def text(longest: int = 1000, shortest: int = 0) -> dict[str, Any]:
    """The schema of a string."""
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def one_of(*values: object) -> dict[str, Any]:
    """The schema of an enumeration."""
    return {"enum": list(values)}


URL = {"type": "string", "pattern": "^https?://[^\\s]+$", "maxLength": 255}
BOOLEAN = {"type": "boolean"}
EVENTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
