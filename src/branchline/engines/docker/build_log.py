"""Reads what the engine says while it builds: BuildKit's trace, and the classic builder's stream.

BuildKit sends `moby.buildkit.control.StatusResponse` messages, as base64 of protobuf, in JSON lines
(https://github.com/moby/buildkit/blob/master/api/services/control/control.proto). Only two kinds of its parts matter
here, so the wire format (https://protobuf.dev/programming-guides/encoding/) is read by hand: the protobuf runtime would
cost more time to import than a small build takes.

What a step prints is not ours and may be anything, so nothing in it is an error here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from branchline.printable import printable

_LINES_KEPT = 40
_LONGEST_LINE = 1 << 16
"""Bytes of a line that has not ended yet; more of it than this is forgotten."""
_FIELD_VERTEX, _FIELD_LOG = 1, 3
_VERTEX_DIGEST, _VERTEX_NAME, _VERTEX_CACHED, _VERTEX_STARTED, _VERTEX_COMPLETED, _VERTEX_ERROR = 1, 3, 4, 5, 6, 7
_LOG_VERTEX, _LOG_STREAM, _LOG_MESSAGE = 1, 3, 4

_CLASSIC_STEP = re.compile(r"Step \d+/\d+ : ")
_CLASSIC_CHATTER = re.compile(
    r" ---> (?:[0-9a-f]{12}|Using cache|Running in [0-9a-f]{12})$|Removing intermediate container [0-9a-f]{12}$"
    r"|Successfully built [0-9a-f]{12}$"
)
_CLASSIC_ERRORS = "\x1b[91m"
"""How the classic builder marks what a step wrote to its standard error: in red."""
_TAGGED = re.compile(r"Successfully tagged \S+:\S+$")
"""Both builders end with it; the image's name is for us and says nothing to the user."""


@dataclass(slots=True)
class BuildLog:
    """Follows one build: what is going on, and what the failing step printed."""

    error: str = ""
    """The engine's own words for the failure; empty while there is none."""
    _step: str = ""
    """The classic builder's present step."""
    _names: dict[str, str] = field(default_factory=dict[str, str])
    _errors: dict[str, str] = field(default_factory=dict[str, str])
    _printed: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _unfinished: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])
    """By step and stream: a line that one of them has begun doesn't end in the other."""

    def read(self, line: bytes) -> list[str]:
        """Takes one JSON line of the answer; returns the lines to show for it, safe to print."""
        try:
            message: Any = json.loads(line)
        except ValueError:
            return self._take(self._step, 1, line + b"\n")
        if not isinstance(message, dict):
            return []
        message = cast("dict[str, Any]", message)
        if message.get("error"):
            self.error = printable(str(message["error"]))
        if message.get("id") == "moby.buildkit.trace":
            return self._read_trace(_decoded(message.get("aux")))
        if message.get("stream"):
            return self._read_stream(str(message["stream"]))
        return self._read_status(message)

    @property
    def failing_step(self) -> str:
        """The step that failed, as the Dockerfile has it; empty where no step was at fault."""
        return self._names.get(self._failing, "")

    @property
    def failing_output(self) -> tuple[str, ...]:
        """The last lines that the failing step printed."""
        lines = [*self._printed.get(self._failing, [])]
        for (step, _), begun in self._unfinished.items():
            lines += _lines(begun) if step == self._failing else []
        return tuple(lines[-_LINES_KEPT:])

    @property
    def _failing(self) -> str:
        """Of steps that ran side by side, the one that the engine names; the others were only called off."""
        blamed = (step for step, words in self._errors.items() if words in self.error)
        return next(blamed, next(iter(self._errors), self._step))

    # The classic builder

    def _read_stream(self, text: str) -> list[str]:
        """A piece of the stream is a whole word of the builder's own, or any part of what a step printed."""
        own = text.rstrip("\n")
        if _CLASSIC_CHATTER.match(own) or _TAGGED.match(own):
            return self._finish(self._step)
        if _CLASSIC_STEP.match(own):
            shown = self._finish(self._step)
            self._step = printable(own)
            self._names[self._step] = self._step
            return [*shown, self._step]
        stream = 2 if text.startswith(_CLASSIC_ERRORS) else 1
        return self._take(self._step, stream, text.encode("utf-8", "replace"))

    def _read_status(self, message: dict[str, Any]) -> list[str]:
        """How a pull goes on. Each layer has a message for every small part of it, of which the last will do."""
        status = str(message.get("status") or "")
        if not status or ("progressDetail" in message and status != "Pull complete"):
            return []
        layer = f"{message['id']}: " if "progressDetail" in message and message.get("id") else ""
        return [f"  {printable(layer + status)}"]

    # BuildKit

    def _read_trace(self, message: bytes) -> list[str]:
        shown: list[str] = []
        for number, value in _fields(message):
            if number == _FIELD_VERTEX and isinstance(value, bytes):
                shown += self._read_vertex(dict(_fields(value)))
            elif number == _FIELD_LOG and isinstance(value, bytes):
                log = dict(_fields(value))
                stream = 2 if log.get(_LOG_STREAM) == 2 else 1
                shown += self._take(_text(log.get(_LOG_VERTEX)), stream, _bytes(log.get(_LOG_MESSAGE)))
        return shown

    def _read_vertex(self, vertex: dict[int, int | bytes]) -> list[str]:
        """A vertex comes when it is known, when it has started and when it has completed, or all at once."""
        digest, name = _text(vertex.get(_VERTEX_DIGEST)), printable(_text(vertex.get(_VERTEX_NAME)))
        shown: list[str] = []
        if _VERTEX_STARTED in vertex and digest not in self._names:
            self._names[digest] = name
            if name.startswith("[") and not name.startswith("[internal]"):
                shown.append(f"{name} (cached)" if vertex.get(_VERTEX_CACHED) else name)
        if vertex.get(_VERTEX_ERROR):
            self._names.setdefault(digest, name)
            self._errors.setdefault(digest, printable(_text(vertex[_VERTEX_ERROR])))
        if _VERTEX_COMPLETED in vertex:
            shown += self._finish(digest)
        return shown

    # What steps print

    def _take(self, step: str, stream: int, data: bytes) -> list[str]:
        """The lines that end in `data`, which may begin and end anywhere, even within a character."""
        whole, end, rest = (self._unfinished.get((step, stream), b"") + data).rpartition(b"\n")
        # Of a progress bar that paints over itself, only the last state can still be wanted.
        self._unfinished[step, stream] = rest[max(rest.rstrip(b"\r").rfind(b"\r"), 0) :][:_LONGEST_LINE]
        return self._keep(step, _lines(whole) if end else [])

    def _finish(self, step: str) -> list[str]:
        """The step prints no more, so its last lines are whole, even without an end."""
        begun = [self._unfinished.pop((step, stream), b"") for stream in (1, 2)]
        return self._keep(step, [line for data in begun for line in _lines(data)])

    def _keep(self, step: str, lines: list[str]) -> list[str]:
        """Remembers what the step printed; returns it as it is shown below the step."""
        printed = self._printed.setdefault(step, [])
        printed += lines
        del printed[:-_LINES_KEPT]
        return [f"  {line}" for line in lines]


def _lines(data: bytes) -> list[str]:
    """The lines with anything on them, as they would look on a terminal: after a \\r, the line is painted anew."""
    whole = (line.rstrip("\r").rpartition("\r")[2] for line in data.decode("utf-8", "replace").split("\n"))
    return [line for line in map(printable, whole) if line.strip()]


def _decoded(aux: object) -> bytes:
    try:
        return base64.b64decode(aux) if isinstance(aux, str) else b""
    except ValueError:
        return b""


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: int | bytes | None) -> str:
    return _bytes(value).decode("utf-8", "replace")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: numbers for varints, bytes for the rest. A cut message ends early."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            return
        yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and what comes after it. Ten bytes hold 64 bits; a longer one is no number."""
    value = 0
    for shift, byte in enumerate(message[position : position + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    return value, len(message)
