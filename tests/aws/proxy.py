"""Stands between boto3 and AWS, and lets chosen calls fail as they do on a bad day.

microburst has no fault for a call that takes effect and whose answer is lost, which is the one that matters most here.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.waiting import eventually

_READS = ("Describe", "List", "Get", "BatchGet", "Scan", "Query")
_ATTEMPT = re.compile(r"attempt=(\d+)")
_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/")


@dataclass(frozen=True)
class Call:
    """A request to AWS."""

    service: str
    """As requests are signed for it: `ecs`, `elasticloadbalancing`."""
    operation: str
    """`CreateService`."""
    attempt: int
    """Counts from 1; botocore says in a header which one it is."""
    body: str

    def __str__(self) -> str:
        return f"{self.service}:{self.operation}"

    @property
    def changes(self) -> bool:
        """Whether it changes anything. A sign of life of a lease doesn't."""
        return not self.operation.startswith(_READS) and not re.search(r"SET (holder|waiting\.#n0)\.beat", self.body)


@dataclass(frozen=True)
class Refusal:
    """The call takes no effect, and this is the answer."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Effect:
    """The call takes effect: what happens before and after that, and whether the answer arrives."""

    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    lost: bool = False


Fault = Refusal | Effect
LOST = Effect(lost=True)


def throttled(call: Call) -> Fault:
    """As each API says that there were too many calls, which all of them do with status 400."""
    if call.service == "dynamodb":
        return _json("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", 400)
    if call.service in ("elasticloadbalancing", "route53", "cloudformation"):
        return _xml("Throttling", 400)
    return _json("ThrottlingException", 400)


def failed(call: Call) -> Fault:
    """As each API says that it failed for a reason of its own."""
    if call.service in ("elasticloadbalancing", "route53", "cloudformation"):
        return _xml("InternalFailure", 500)
    return _json("InternalServerError" if call.service == "dynamodb" else "ServerException", 500)


def _json(code: str, status: int) -> Refusal:
    return Refusal(status, json.dumps({"__type": code, "message": "on a bad day"}).encode())


def _xml(code: str, status: int) -> Refusal:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>on a bad day</Message></Error>"
    return Refusal(status, f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>".encode())


def call_of(method: str, path: str, headers: Message, body: bytes) -> Call:
    """What a request asks for: a header says it in the JSON protocols, a parameter in the query protocol."""
    text = body.decode(errors="replace")
    scope, attempt = _SCOPE.search(headers["Authorization"] or ""), _ATTEMPT.search(headers["amz-sdk-request"] or "")
    if target := headers["X-Amz-Target"]:
        operation = target.rpartition(".")[2]
    elif action := parse_qs(text).get("Action"):
        operation = action[0]
    elif method == "POST" and urlsplit(path).path.rstrip("/").endswith("/rrset"):
        operation = "ChangeResourceRecordSets"
    else:
        operation = f"{method.capitalize()} {path}"
    return Call(scope.group(1) if scope else "", operation, int(attempt.group(1)) if attempt else 1, text)


@dataclass
class Proxy:
    """An endpoint of its own."""

    url: str
    upstream: str
    fault: Callable[[Call], Fault | None] = lambda _: None
    calls: list[Call] = field(default_factory=list)
    """All that were made since the fault was set."""
    _under_way: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def let(self, fault: Callable[[Call], Fault | None]) -> None:
        """Lets calls fail from now on."""
        with self._lock:
            self.fault, self.calls = fault, []

    def begin(self, call: Call) -> Fault | None:
        """Counts a call in, and decides what becomes of it."""
        with self._lock:
            self._under_way.append(call)
            self.calls.append(call)
            return self.fault(call)

    def end(self, call: Call) -> None:
        """Counts it out."""
        with self._lock:
            self._under_way.remove(call)

    def settle(self) -> None:
        """Returns once nothing is under way: what a killed process asked for may still take effect."""

        def settled() -> bool:
            assert not self._under_way, [str(call) for call in self._under_way]
            return True

        eventually(settled, "all calls have come to their end", timeout=30)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


@contextmanager
def in_front_of(upstream: str) -> Iterator[Proxy]:
    """A proxy that listens within the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer in two parts would take 40 ms otherwise

        def handle(self) -> None:
            with suppress(ConnectionError):  # whoever asked was killed
                super().handle()

        def _pass(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # whoever asks was killed while asking
                self.close_connection = True
                return
            call = call_of(self.command, self.path, self.headers, body)
            fault = proxy.begin(call)
            try:
                self._serve(body, fault)
            finally:
                proxy.end(call)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass  # noqa: N815 - the names that the base class looks for

        def _serve(self, body: bytes, fault: Fault | None) -> None:
            if isinstance(fault, Refusal):
                self._answer(fault.status, [("Content-Type", "application/x-amz-json-1.1")], fault.body)
                return
            effect = fault or Effect()
            effect.before()
            status, headers, answer = self._ask(body)
            effect.after()
            if effect.lost:
                self.close_connection = True
            else:
                self._answer(status, headers, answer)

        def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                return response.status, response.getheaders(), response.read()
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_port}", upstream)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
