"""`python -m tests.aws.fuzz_webhook --seconds 300`: posts anything, and fails if an answer says that something broke.

The API, the function and all behind them are the emulator's, with the function's real zip. Three ways at the same time:
forges' deliveries that are broken in any way (`tests.odd_requests`), what Schemathesis makes of an OpenAPI document of
the endpoint, and paths and methods. Most are signed, so that they get past the first check. It is no test of the suite:
five minutes are too long for it, and what it does in seconds is in test_function_events.py.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi import checks

from bench.aws_sandbox import aws_sandbox
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.webhook_secret import EcsSecrets
from branchline.forges import pinging
from branchline.forges.payload import LARGEST
from tests.aws.base import listen
from tests.odd_requests import FORGES, OddRequest, odd_requests
from tests.waiting import eventually

_MOSTLY = st.sampled_from([True, True, True, False])
_AT_ONCE = 100
"""Examples of one run of Hypothesis, after which the clock is looked at."""
_ERROR = {"application/json": {"schema": {"type": "object", "required": ["error"], "additionalProperties": False}}}
_ERROR["application/json"]["schema"]["properties"] = {"error": {"type": "string"}}
_STATUS = {"application/json": {"schema": {"type": "object", "required": ["status", "delivery"]}}}
ENDPOINT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Where forges post", "version": "1"},
    "paths": {
        "/webhooks/{forge}": {
            "post": {
                "parameters": [
                    {"name": "forge", "in": "path", "required": True, "schema": {"enum": ["github"]}},
                    {
                        "name": "X-GitHub-Event",
                        "in": "header",
                        "required": True,
                        "schema": {"enum": ["push", "delete", "pull_request", "ping", "star"]},
                    },
                    {"name": "X-GitHub-Delivery", "in": "header", "schema": {"type": "string"}},
                    {"name": "X-Hub-Signature-256", "in": "header", "required": True, "schema": {"type": "string"}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["ref", "repository"],
                                "properties": {
                                    "ref": {"type": "string"},
                                    "ref_type": {"enum": ["branch", "tag"]},
                                    "after": {"type": "string", "pattern": "^([0-9a-f]{40}|0{40})$"},
                                    "deleted": {"type": "boolean"},
                                    "repository": {
                                        "type": "object",
                                        "required": ["clone_url"],
                                        "properties": {"clone_url": {"type": "string"}},
                                    },
                                },
                            }
                        }
                    },
                },
                "responses": {
                    "200": {"description": "A ping", "content": _STATUS},
                    "202": {"description": "Taken", "content": _STATUS},
                    **{str(status): {"description": "Refused", "content": _ERROR} for status in (400, 401, 413, 415)},
                    "404": {"description": "No such forge, or no such path"},
                },
            }
        }
    },
}
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@dataclass
class Target:
    """The API, and what it answered."""

    url: str
    secret: str
    answers: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    """By the way that the requests were made."""
    seconds: list[float] = field(default_factory=list[float])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, way: str, status: int, seconds: float) -> None:
        """Notes an answer.

        Raises:
            AssertionError: it says that something broke.
        """
        with self._lock:
            self.answers.setdefault(way, Counter())[status] += 1
            self.seconds.append(seconds)
        assert status < 500, f"{way}: {status}"

    def send(self, way: str, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
        """Asks once."""
        begun = time.monotonic()
        answer = client.request(method, f"{self.url}{path}", **options)
        self.count(way, answer.status_code, time.monotonic() - begun)
        return answer


def deliveries(target: Target) -> None:
    """Forges' deliveries, broken in any way."""
    with httpx.Client(timeout=60) as client:

        @_examples
        @given(odd_requests(target.secret))
        def post(request: OddRequest) -> None:
            headers = {name: value.strip() for name, value in request.headers.items()}
            answer = target.send(
                "deliveries", client, "POST", f"/webhooks/{request.forge}", headers=headers, content=request.body
            )
            assert target.secret not in answer.text

        post()


def document(target: Target) -> None:
    """What Schemathesis makes of the OpenAPI document, valid and not, signed as GitHub signs."""
    schema = schemathesis.openapi.from_dict(ENDPOINT)
    operation = schema["/webhooks/{forge}"]["POST"]
    modes = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
    with requests.Session() as session:

        @_examples
        @given(st.one_of(modes), _MOSTLY)
        def post(case: Case, signed: bool) -> None:
            prepared = session.prepare_request(requests.Request(**case.as_transport_kwargs(base_url=target.url)))
            body = prepared.body or b""
            body = body.encode() if isinstance(body, str) else body
            if signed:
                prepared.headers["X-Hub-Signature-256"] = _signature(target.secret, body)
            begun = time.monotonic()
            answer = session.send(prepared, timeout=60)
            target.count("schemathesis", answer.status_code, time.monotonic() - begun)
            case.validate_response(answer, checks=CHECKS)

        post()


def surroundings(target: Target) -> None:
    """Other paths, methods and sizes around a delivery that is signed."""
    segments = st.text(max_size=20) | st.sampled_from(
        [*FORGES, "..", "%2e%2e", "%00", "github/", "a" * 4000, "{forge}"]
    )
    methods = st.sampled_from([*["POST"] * 10, "GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    sizes = st.sampled_from([*[0] * 10, 1, 1000, LARGEST // 10, LARGEST + 1])
    headers = {"content-type": "application/json", "x-github-event": "ping", "x-github-delivery": "1"}
    with httpx.Client(timeout=60) as client:

        @_examples
        @given(methods, _MOSTLY, st.lists(segments, max_size=3), segments, sizes)
        def ask(method: str, right: bool, path: list[str], query: str, size: int) -> None:
            parts = ["github"] if right else [quote(part, safe="%", errors="replace") for part in path]
            where = "/".join(["/webhooks", *parts])
            body = b"{}" + b" " * size
            options: dict[str, Any] = {"params": {"q": query.encode("utf-8", "replace")}, "content": body}
            signed = headers | {"x-hub-signature-256": _signature(target.secret, body)}
            target.send("surroundings", client, method, where, headers=signed, **options)

        ask()


def _signature(secret: str, body: bytes) -> str:
    """As GitHub signs."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


_examples = settings(
    max_examples=_AT_ONCE,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def _until(end: float, way: Callable[[Target], None], target: Target) -> None:
    while time.monotonic() < end:
        way(target)


def _failures(aws: Aws, function: str) -> list[str]:
    """What the function's log says that didn't end well, or that nobody should read there."""
    pages = aws.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}")
    lines = [event.get("message", "") for page in pages for event in page["events"]]
    return [line for line in lines if '"what": "failed"' in line or "Traceback" in line]


def _settle(aws: Aws, function: str) -> None:
    """Waits until every delivery that was taken has had its job, as the function's log has it."""

    def done() -> bool:
        pages = aws.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}")
        text = "\n".join(event.get("message", "") for page in pages for event in page["events"])
        ends = text.count('"what": "removed"') + text.count('"what": "failed"')
        return ends >= text.count('"status": "accepted"')

    eventually(done, "the jobs that were handed over have ended", timeout=60, interval=1)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    seconds = parser.parse_args().seconds
    with aws_sandbox() as here:
        door = listen(here.aws, here.platform, here.url)
        target = Target(door.url, EcsSecrets(here.aws, door.secret).read()[0])
        end = time.monotonic() + seconds
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(_until, end, way, target) for way in (deliveries, document, surroundings)]
        broken = [error for each in running if (error := each.exception()) is not None]
        _settle(here.aws, door.function)
        broken += [AssertionError(line) for line in _failures(here.aws, door.function)]
        headers, body = pinging.ping(target.secret)
        answer = httpx.post(f"{target.url}/webhooks/github", headers=headers, content=body)
        if answer.status_code != 200:
            broken.append(AssertionError(f"a ping is answered {answer.status_code}"))
    for way, answers in sorted(target.answers.items()):
        print(f"{way}: {answers.total()} requests; {dict(sorted(answers.items()))}")
    hundredths = statistics.quantiles(target.seconds, n=100)
    print(
        f"answered in {hundredths[49]:.3f} s (median), {hundredths[98]:.3f} s (p99), {max(target.seconds):.2f} s (most)"
    )
    for error in broken:
        print(f"BROKEN: {error}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
