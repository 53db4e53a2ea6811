"""Slack, on this machine: incoming webhooks and `chat.postMessage`, which take what Slack documents and nothing else.

A real HTTP server that checks method, address, token and payload, answers in Slack's own words, and keeps what it took.
Tests and demos use it alike:

    with SlackStandIn() as slack:
        ...  # BRANCHLINE_SLACK_WEBHOOK=slack.webhook
        print(slack.texts)

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.slack.dev/reference/methods/chat.postMessage
https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/services/T0BRANCH/B0LINE/not-to-be-seen-0123456789"
TOKEN = "xoxb-0123456789-not-to-be-seen"
CHANNEL = "C012AB3CD"

Answer = tuple[int, str, dict[str, str]]
"""Status, body, and further headers."""

_OF_WEBHOOK = frozenset({"text", "mrkdwn", "blocks", "unfurl_links", "unfurl_media", "thread_ts"})
_OF_POST = _OF_WEBHOOK | {"channel", "reply_broadcast", "metadata", "parse", "link_names"}
"""The keys that are of use here, of those that Slack knows."""
_BARE = re.compile(r"<|>|&(?!amp;|lt;|gt;)")
"""https://docs.slack.dev/messaging/formatting-message-text#escaping"""
_STYLES = {"bold", "italic", "strike", "code"}
_ELEMENTS: dict[str, tuple[set[str], set[str]]] = {
    "text": ({"text"}, {"style"}),
    "link": ({"url"}, {"text", "style", "unsafe"}),
    "user": ({"user_id"}, {"style"}),
    "emoji": ({"name"}, {"unicode"}),
}
"""Of a rich text section: what each has to have, and what it may have."""


class PayloadError(Exception):
    """Slack's word for what is wrong with a message, and what that is."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


def check(payload: Any, keys: frozenset[str] = _OF_WEBHOOK) -> None:
    """Takes a message's payload as Slack documents it.

    Raises:
        PayloadError: it is of another form, or over one of the limits.
    """
    if not isinstance(payload, dict):
        raise PayloadError("invalid_payload", "not an object")
    unknown = payload.keys() - keys
    _require(not unknown, "invalid_payload", f"unknown keys {unknown}")
    text, blocks = payload.get("text", ""), payload.get("blocks")
    # With blocks it stands in for them in notifications, and for screen readers.
    _require(isinstance(text, str) and bool(text.strip()), "no_text", "no text for notifications")
    _require(len(text) <= 40_000, "msg_too_long", "text over 40,000 characters")
    _require(not _BARE.search(text), "invalid_payload", f"unescaped in {text!r}")
    if blocks is not None:
        _require(isinstance(blocks, list) and 0 < len(blocks) <= 50, "invalid_blocks", "1 to 50 blocks")
        for block in blocks:
            _check_block(block)


def _require(condition: bool, code: str, why: str) -> None:
    if not condition:
        raise PayloadError(code, why)


def _fields(thing: Any, required: set[str], optional: set[str]) -> dict[str, Any]:
    _require(isinstance(thing, dict), "invalid_blocks", f"not an object: {thing!r}")
    _require(required <= thing.keys() <= required | optional, "invalid_blocks", f"keys of {thing!r}")
    return thing


def _string(value: Any, longest: int) -> None:
    _require(isinstance(value, str) and 0 < len(value) <= longest, "invalid_blocks", f"1 to {longest}: {value!r}")


def _check_block(block: Any) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    match kind:
        case "header":
            _fields(block, {"type", "text"}, {"block_id"})
            _check_text(block["text"], 150, {"plain_text"})
        case "section":
            _fields(block, {"type", "text"}, {"block_id"})
            _check_text(block["text"], 3000, {"plain_text", "mrkdwn"})
        case "context":
            _fields(block, {"type", "elements"}, {"block_id"})
            _require(0 < len(block["elements"]) <= 10, "invalid_blocks", "1 to 10 elements")
            for element in block["elements"]:
                _check_text(element, 3000, {"plain_text", "mrkdwn"})
        case "divider":
            _fields(block, {"type"}, {"block_id"})
        case "rich_text":
            _fields(block, {"type", "elements"}, {"block_id"})
            _require(bool(block["elements"]), "invalid_blocks", "an empty block")
            for part in block["elements"]:
                _check_rich(part)
        case _:
            raise PayloadError("invalid_blocks", f"no block of this kind: {block!r}")


def _check_text(text: Any, longest: int, kinds: set[str]) -> None:
    _fields(text, {"type", "text"}, {"emoji", "verbatim"})
    _require(text["type"] in kinds, "invalid_blocks", f"not one of {kinds}: {text!r}")
    _string(text["text"], longest)
    if text["type"] == "mrkdwn":
        bare = re.sub(r"<(?:https?://[^<>]+|@[UW][A-Z0-9]+)>", "", text["text"])
        _require(not _BARE.search(bare), "invalid_blocks", f"unescaped in {text!r}")


def _check_rich(part: Any) -> None:
    """https://docs.slack.dev/reference/block-kit/blocks/rich-text-block"""
    _fields(part, {"type", "elements"}, {"border"} if part.get("type") == "rich_text_preformatted" else set())
    preformatted = part["type"] == "rich_text_preformatted"
    _require(preformatted or part["type"] == "rich_text_section", "invalid_blocks", f"not known here: {part!r}")
    _require(bool(part["elements"]), "invalid_blocks", "an empty section")
    for element in part["elements"]:
        kind = element.get("type")
        _require(kind in ({"text", "link"} if preformatted else _ELEMENTS), "invalid_blocks", f"in {part!r}")
        required, optional = _ELEMENTS[kind]
        _fields(element, required | {"type"}, optional)
        for name in (required | {"text"}) & element.keys():
            _string(element[name], 3000)
        style = element.get("style", {})
        _require(style.keys() <= _STYLES and all(value is True for value in style.values()), "invalid_blocks", "style")
        if kind == "link":
            _require(bool(re.match(r"https?://[^/\s]", element["url"])), "invalid_blocks", f"no URL: {element!r}")
        if kind == "user":
            _require(bool(re.fullmatch(r"[UW][A-Z0-9]+", element["user_id"])), "invalid_blocks", f"{element!r}")


def shown(payload: dict[str, Any]) -> str:
    """The message as a reader sees it, with code blocks between fences and people as `@ID`."""
    parts = [part for block in payload["blocks"] if block["type"] == "rich_text" for part in block["elements"]]
    lines: list[str] = []
    for part in parts:
        text = "".join(
            f"@{each['user_id']}" if each["type"] == "user" else each.get("text") or each["url"]
            for each in part["elements"]
        )
        lines.append(f"```\n{text}\n```" if part["type"] == "rich_text_preformatted" else text)
    return "\n".join(lines)


@dataclass
class SlackStandIn:
    """Serves while the block runs. What it answers can be changed at any time."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    """The payloads that were taken, in their order; those of the bot with their `ts`."""
    refused: list[str] = field(default_factory=list)
    """Why payloads weren't taken. A test that expects none looks here."""
    requests: int = 0
    answers: list[Answer] = field(default_factory=list)
    """Given in place of its own, to one request each, which is not taken."""
    delay: float = 0.0
    """Seconds that each request waits for its answer, at most until the stand-in is left."""
    channel_error: str = ""
    """What is wrong with the channel or the webhook, in Slack's word, such as `not_in_channel` or `no_service`."""
    url: str = ""

    @property
    def webhook(self) -> str:
        """The incoming webhook's URL."""
        return f"{self.url}{PATH}"

    @property
    def api(self) -> str:
        """The Web API's URL; the bot's token is `TOKEN`, and its channel `CHANNEL`."""
        return f"{self.url}/api"

    @property
    def texts(self) -> list[str]:
        """The messages as a reader sees them."""
        return [shown(payload) for payload in self.messages]

    def forget(self, ts: str) -> None:
        """Somebody deletes a message."""
        self.messages = [each for each in self.messages if each.get("ts") != ts]

    def __enter__(self) -> SlackStandIn:
        self._left, self._lock = threading.Event(), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._answer, self._wait))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _wait(self) -> None:
        with self._lock:
            self.requests += 1
        if self.delay:
            self._left.wait(self.delay)

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            if self.answers:
                return self.answers.pop(0)
            if path.startswith("/services/"):
                return self._webhook(method, path, headers, body)
            if path == "/api/chat.postMessage":
                return self._post(method, headers, body)
            return 404, "not found", {}

    def _webhook(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path != PATH or self.channel_error == "no_service":
            return 404, "no_service", {}
        if self.channel_error:
            statuses = {"channel_is_archived": 410, "action_prohibited": 403}
            return statuses.get(self.channel_error, 404), self.channel_error, {}
        try:
            payload = self._read(method, headers, body, _OF_WEBHOOK)
        except PayloadError as error:
            self.refused.append(str(error))
            return 400, error.code, {}
        self.messages.append(payload)
        return 200, "ok", {}

    def _post(self, method: str, headers: dict[str, str], body: bytes) -> Answer:
        """Slack answers 200 to what it refuses, too."""
        if not headers.get("authorization"):
            return _said(ok=False, error="not_authed")
        if headers["authorization"] != f"Bearer {TOKEN}":
            return _said(ok=False, error="invalid_auth")
        try:
            payload = self._read(method, headers, body, _OF_POST)
            _require(isinstance(payload.get("channel"), str), "channel_not_found", "no channel")
            _require("reply_broadcast" not in payload or "thread_ts" in payload, "invalid_arguments", "no thread")
        except PayloadError as error:
            self.refused.append(str(error))
            return _said(ok=False, error=error.code)
        if payload["channel"] != CHANNEL:
            return _said(ok=False, error="channel_not_found")
        if self.channel_error:
            return _said(ok=False, error=self.channel_error)
        thread = payload.get("thread_ts")
        if thread is not None and thread not in {each.get("ts") for each in self.messages if "thread_ts" not in each}:
            return _said(ok=False, error="thread_not_found")
        ts = f"{int(time.time())}.{len(self.messages) + self.requests:06d}"
        self.messages.append(payload | {"ts": ts})
        message = {"type": "message", "text": payload["text"], "ts": ts, **({"thread_ts": thread} if thread else {})}
        return _said(ok=True, channel=CHANNEL, ts=ts, message=message)

    def _read(self, method: str, headers: dict[str, str], body: bytes, keys: frozenset[str]) -> dict[str, Any]:
        _require(method == "POST", "invalid_payload", f"{method} in place of POST")
        _require(headers.get("content-type", "").startswith("application/json"), "invalid_payload", "not sent as JSON")
        try:
            payload = json.loads(body)
        except ValueError as error:
            raise PayloadError("invalid_payload", str(error)) from error
        check(payload, keys)
        return payload


def _said(**document: Any) -> Answer:
    return 200, json.dumps(document), {"Content-Type": "application/json; charset=utf-8"}


def _handler(
    answer: Callable[[str, str, dict[str, str], bytes], Answer], wait: Callable[[], None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            wait()
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text, more = answer(self.command, self.path, headers, body)
            content = text.encode()
            try:
                self.send_response(status)
                told = {"Content-Type": "text/plain", **more, "Content-Length": str(len(content))}
                for name, value in told.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # whoever asked waits no longer
                self.close_connection = True

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
