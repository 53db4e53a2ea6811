"""What tasks print, from CloudWatch Logs.

Each task writes to a log stream of its own, so that a release has as many as it has had tasks. They are read one by
one: GetLogEvents reads from a stream's end as well, and FilterLogEvents takes 5 calls a second of a whole account.
https://repost.aws/knowledge-center/cloudwatch-logs-throttling
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from branchline import labels
from branchline.engines.ecs import inventory, names, services
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId
from branchline.printable import printable

if TYPE_CHECKING:
    from types_boto3_logs.type_defs import LogStreamTypeDef

_LINES = 20
_PAGE = 10_000
"""How many lines one call reads at the most."""
_OVERLAP = 2
"""How many tasks may print at the same time: a service has one, and its successor starts before it ends."""
_POLL, _LONGEST_POLL = 1.0, 2.0
"""Seconds between two looks while something is printed, and those to which they grow while nothing is."""
_GROWTH = 1.3


def stream(release: int, task: str) -> str:
    """The log stream of a release's task, as the awslogs driver names it: `prefix/container/task id`.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specify-log-config.html
    """
    return f"{_streams_of(release)}{task.rpartition('/')[2]}"


def _streams_of(release: int) -> str:
    """What the names of a release's log streams start with."""
    return f"{release}/{names.CONTAINER}/"


def last_lines(aws: Aws, environment: EnvironmentId, release: int, task: str) -> tuple[str, ...]:
    """The last lines that a task printed, or none where they can't be had: they only go with something worse."""
    log = _Stream(aws, names.log_group(environment), stream(release, task), 0)
    try:
        return tuple(line.text for line in log.last(_LINES))
    except AwsError:
        return ()


def lines(aws: Aws, service: Service, environment: EnvironmentId, *, follow: bool, tail: int | None) -> Iterator[bytes]:
    """What the tasks of the serving release printed, line by line in the order of time; of that, the last `tail` lines.

    With `follow` it goes on with what they and those of the releases after it print, until the environment is gone. A
    line of its own that starts with `---` tells of each change: it is not the application's.
    """
    number = inventory.release_number(service.values)
    streams = _streams(aws, environment, number)
    for line in _in_order(streams) if tail is None else _last(streams, tail):
        yield line.encoded
    if follow:
        yield from _follow(aws, environment, number, streams)


def _follow(aws: Aws, environment: EnvironmentId, number: int, streams: list[_Stream]) -> Iterator[bytes]:
    """What is printed from now on; `streams` are the release's, as far as they have been read."""
    known = {stream.name for stream in streams}
    again: set[str] = set()
    pause, told = _POLL, False
    while True:
        time.sleep(pause)
        service = services.find(aws, environment)
        started = [stream for stream in _streams(aws, environment, number) if stream.name not in known]
        again |= {stream.name for stream in (started if known else started[1:])}
        known |= {stream.name for stream in started}
        streams = [*streams[-_OVERLAP:], *started]
        pause = min(pause * _GROWTH, _LONGEST_POLL)
        for line in _in_order(streams):
            if line.stream in again:
                again.remove(line.stream)
                yield _word("started again")
            yield line.encoded
            pause, told = _POLL, False
        if service is None:
            yield _word(f"{environment.branch} was destroyed")
            return
        if service.desired or service.running:
            told = False
        elif not told and pause > _POLL:
            told = True
            yield _word(f"{environment.branch} sleeps")
        serving = inventory.release_number(service.values)
        if service.described and serving != number:  # otherwise the next one is not healthy yet
            yield _word(f"release {serving}, commit {service.values.get(labels.COMMIT, '')[:12]}")
            number, pause = serving, _POLL
            again.clear()
            found = _streams(aws, environment, number)
            # What a release printed before it was rolled back to is in streams of earlier tasks.
            known, streams = {stream.name for stream in found}, found[-1:]


def _word(text: str) -> bytes:
    """A line that is not the application's."""
    return f"--- {printable(text)} ---\n".encode()


@dataclass(frozen=True, slots=True)
class _Line:
    """Something printed, up to the end of a line."""

    time: int
    """In milliseconds since 1970."""
    text: str
    stream: str

    @property
    def encoded(self) -> bytes:
        """As it was printed. A character that isn't one (a lone surrogate) becomes `?`."""
        return f"{self.text}\n".encode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Page:
    """Some lines of a stream, and the tokens of those on either side."""

    lines: list[_Line]
    before: str
    after: str


class _Stream:
    """The log stream of one task, and how far it has been read."""

    def __init__(self, aws: Aws, group: str, name: str, begins: int) -> None:
        self._aws = aws
        self._group = group
        self._next = ""
        self.name = name
        self.begins = begins
        """In milliseconds since 1970."""

    def new(self) -> Iterator[_Line]:
        """The lines from where the last call ended."""
        while True:
            page = self._read(self._next, from_head=True)
            yield from page.lines
            # A page may be empty before the end. That is told by a token which stays the same:
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
            if page.after == self._next:
                return
            self._next = page.after

    def last(self, count: int) -> list[_Line]:
        """The last lines. `new` goes on after them."""
        page = self._read("", from_head=False, limit=max(count, 1))
        found, self._next = page.lines, page.after
        while len(found) < count:
            earlier = self._read(page.before, from_head=False, limit=count - len(found))
            if earlier.before == page.before:
                break
            page, found = earlier, [*earlier.lines, *found]
        return found[len(found) - min(count, len(found)) :]

    def _read(self, token: str, *, from_head: bool, limit: int = _PAGE) -> _Page:
        where: dict[str, Any] = {"nextToken": token} if token else {}
        try:
            with asking(f"can't read the log stream {self.name}"):
                answer = self._aws.logs.get_log_events(
                    logGroupName=self._group,
                    logStreamName=self.name,
                    startFromHead=from_head,
                    limit=min(limit, _PAGE),
                    **where,
                )
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return _Page([], token, token)
            raise
        printed = [
            _Line(event.get("timestamp", 0), event.get("message", "").rstrip("\n"), self.name)
            for event in answer["events"]
        ]
        return _Page(printed, answer["nextBackwardToken"], answer["nextForwardToken"])


def _streams(aws: Aws, environment: EnvironmentId, release: int) -> list[_Stream]:
    """The log streams of a release's tasks, the oldest first."""
    group = names.log_group(environment)
    pages = aws.logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix=_streams_of(release)
    )
    try:
        with asking(f"can't list the log streams of {environment.branch}"):
            found = [item for page in pages for item in page["logStreams"]]
    except AwsError as error:
        if error.code == "ResourceNotFoundException":  # nothing was printed yet, or all is gone
            return []
        raise
    streams = [_Stream(aws, group, item.get("logStreamName", ""), _beginning(item)) for item in found]
    return sorted(streams, key=lambda stream: (stream.begins, stream.name))


def _beginning(described: LogStreamTypeDef) -> int:
    """No line of the stream is older. Lines have the time of the task's own clock."""
    created = described.get("creationTime", 0)
    return min(created, described.get("firstEventTimestamp", created))


def _in_order(streams: list[_Stream]) -> Iterator[_Line]:
    """The new lines of the streams in the order of time. A stream is not read before its time comes: it may be many."""

    def new(stream: _Stream) -> Iterator[tuple[int, _Line | None]]:
        yield stream.begins, None
        for line in stream.new():
            yield line.time, line

    for _, line in heapq.merge(*map(new, streams), key=lambda item: item[0]):
        if line is not None:
            yield line


def _last(streams: list[_Stream], count: int) -> list[_Line]:
    """The last lines of them all, with a look only at those which may have them."""
    found: list[_Line] = []
    for number, stream in enumerate(reversed(streams), start=1):
        enough = len(found) >= count and number >= _OVERLAP
        found = [*stream.last(count), *found]
        if enough:
            break
    found.sort(key=lambda line: line.time)
    return found[len(found) - min(count, len(found)) :]
