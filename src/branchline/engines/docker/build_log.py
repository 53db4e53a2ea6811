"""Reads what the engine says while it builds: BuildKit's trace, and the classic builder's stream.

BuildKit sends `moby.buildkit.control.StatusResponse` messages, as base64 of protobuf, in JSON lines
(https://github.com/moby/buildkit/blob/master/api/services/control/control.proto). Only four of its fields matter here,
so the wire format (https://protobuf.dev/programming-guides/encoding/) is read by hand: the protobuf runtime would cost
more time to import than a small build takes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_LINES_KEPT = 40
_FIELD_VERTEX, _FIELD_LOG = 1, 3
_VERTEX_DIGEST, _VERTEX_NAME, _VERTEX_CACHED, _VERTEX_STARTED, _VERTEX_ERROR = 1, 3, 4, 5, 7
_LOG_VERTEX, _LOG_MESSAGE = 1, 4


@dataclass(slots=True)
class BuildLog:
    """Follows one build: what is going on, and what the failing step printed."""

    error: str = ""
    """The engine's own words for the failure; empty while there is none."""
    _step: str = ""
    _failed: str = ""
    _names: dict[str, str] = field(default_factory=dict[str, str])
    _printed: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _unfinished: dict[str, str] = field(default_factory=dict[str, str])

    def read(self, line: bytes) -> list[str]:
        """Takes one JSON line of the answer; returns the lines to show for it."""
        if not line.strip():
            return []
        message: dict[str, Any] = json.loads(line)
        if message.get("error"):
            self.error = str(message["error"])
        if message.get("id") == "moby.buildkit.trace":
            return self._read_trace(base64.b64decode(message["aux"]))
        return self._read_stream(str(message.get("stream") or message.get("status") or ""))

    @property
    def failing_step(self) -> str:
        """The step that failed, as the Dockerfile has it; empty where no step was at fault."""
        return self._names.get(self._failed or self._step, "")

    @property
    def failing_output(self) -> tuple[str, ...]:
        """The last lines that the failing step printed."""
        step = self._failed or self._step
        lines = [*self._printed.get(step, []), self._unfinished.get(step, "")]
        return tuple(line for line in lines if line)[-_LINES_KEPT:]

    def _read_stream(self, text: str) -> list[str]:
        shown: list[str] = []
        for line in text.splitlines():
            if line.startswith("Step "):
                self._step = line
                self._names[line] = line
            elif line.strip() and not line.startswith((" ---> ", "Removing intermediate container")):
                self._keep(self._step, line)
            else:
                continue
            shown.append(line)
        return shown

    def _read_trace(self, message: bytes) -> list[str]:
        shown: list[str] = []
        for number, value in _fields(message):
            if number == _FIELD_VERTEX and isinstance(value, bytes):
                shown += self._read_vertex(dict(_fields(value)))
            elif number == _FIELD_LOG and isinstance(value, bytes):
                shown += self._read_log(dict(_fields(value)))
        return shown

    def _read_vertex(self, vertex: dict[int, int | bytes]) -> list[str]:
        digest, name = _text(vertex.get(_VERTEX_DIGEST)), _text(vertex.get(_VERTEX_NAME))
        if vertex.get(_VERTEX_ERROR):
            self._failed = digest
        if _VERTEX_STARTED not in vertex or digest in self._names:
            self._names.setdefault(digest, name) if vertex.get(_VERTEX_ERROR) else None
            return []
        self._names[digest] = name
        if name.startswith("[internal]") or not name.startswith("["):
            return []
        return [f"{name} (cached)" if vertex.get(_VERTEX_CACHED) else name]

    def _read_log(self, log: dict[int, int | bytes]) -> list[str]:
        digest = _text(log.get(_LOG_VERTEX))
        *whole, rest = (self._unfinished.get(digest, "") + _text(log.get(_LOG_MESSAGE))).split("\n")
        self._unfinished[digest] = rest
        lines = [line.rstrip("\r") for line in whole]
        for line in lines:
            self._keep(digest, line)
        return [f"  {line}" for line in lines if line]

    def _keep(self, step: str, line: str) -> None:
        printed = self._printed.setdefault(step, [])
        printed.append(line)
        del printed[:-_LINES_KEPT]


def _text(value: int | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


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
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, position
