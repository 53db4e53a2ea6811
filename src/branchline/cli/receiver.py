"""The server behind `branchline webhook serve`: forges post to it, and it removes what deleted branches had.

A forge is answered at once; the work is done after that, one branch at a time and in the order in which it came in. It
is held in memory only: what is lost with the process, `branchline reap` finds.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from branchline import reception
from branchline.cancellation import Cancellation
from branchline.errors import BranchlineError
from branchline.forges.payload import LARGEST
from branchline.forges.reader import FORGES
from branchline.reception import Removal, Reply
from branchline.webhooks import Delivery

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from branchline.signing import Secrets

_WAITING = 1000
"""Branches that wait for their removal at the most. A forge that is told 503 shows the delivery as failed."""
_PAUSES = (5.0, 30.0)
"""Seconds before a removal that failed is tried again."""
_TIME = 240.0
"""Seconds for a removal, as in the Lambda: what hangs must not keep the others from being done."""
_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    503: "Service Unavailable",
}


@dataclass
class Receiver:
    """Reads deliveries, and works through what they ask for. A WSGI application (PEP 3333)."""

    platform: str
    fork_label: str
    secrets: Secrets
    remove: Callable[[Removal, Cancellation], dict[str, tuple[str, ...]] | None]
    """Removes what a branch has; see `reception.remove`."""
    say: Callable[[str], None]
    """Hears of what happens, a line each."""
    pauses: tuple[float, ...] = _PAUSES
    _work: queue.Queue[Removal | None] = field(default_factory=lambda: queue.Queue(_WAITING))
    _cancellation: Cancellation = field(default_factory=Cancellation)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _worker: threading.Thread | None = None

    def start(self) -> None:
        """Works from now on."""
        self._worker = threading.Thread(target=self._run, name="removes branches", daemon=True)
        self._worker.start()

    def stop(self, patience: float) -> None:
        """Ends the work, after what is under way and for at most `patience` seconds; the rest is left to `reap`."""
        self._stopping.set()
        left = 0
        with suppress(queue.Empty):
            while self._work.get_nowait() is not None:
                left += 1
        if left:
            self.say(f"not removed any more, and left to 'branchline reap': {left}")
        self._work.put(None)
        if self._worker is not None:
            self._worker.join(patience)
        self._cancellation.cancel(BranchlineError("the receiver was stopped"))
        if self._worker is not None:
            self._worker.join(patience)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        reply = self._reply(environ)
        body = json.dumps(reply.said).encode()
        start_response(
            f"{reply.status} {_REASONS[reply.status]}",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [body]

    def _reply(self, environ: WSGIEnvironment) -> Reply:
        room, _, forge = environ.get("PATH_INFO", "").strip("/").partition("/")
        if room == "healthz" and not forge:
            return Reply(200, {"status": "ok"})
        if room != "webhooks":
            return Reply(404, {"error": "nothing here"})
        if environ["REQUEST_METHOD"] != "POST":
            return Reply(405, {"error": "a delivery is posted"})
        try:
            valid = self.secrets.read()
        except BranchlineError as error:
            self.say(f"failed: {error.message}; {error.remedy}")
            return Reply(503, {"error": "try again later"})
        delivery = Delivery(_headers(environ), environ["wsgi.input"].read(LARGEST + 1))
        reply = reception.answer(
            forge,
            delivery,
            valid,
            platform=self.platform,
            fork_label=self.fork_label,
            door="branchline webhook serve",
        )
        self.say(_line(forge, reply))
        try:
            for removal in reply.removals:
                self._work.put_nowait(removal)
        except queue.Full:
            self.say("failed: too many branches wait for their removal")
            return Reply(503, {"error": "try again later"})
        return reply

    def _run(self) -> None:
        while (removal := self._work.get()) is not None:
            self._remove(removal)

    def _remove(self, removal: Removal) -> None:
        for pause in (*self.pauses, None):
            begun = time.monotonic()
            try:
                removed = self._removed(removal)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next branch is to be removed
                defect = f"a defect, please report it: {type(error).__name__}"  # its words may hold a secret
                reason = error.message if isinstance(error, BranchlineError) else defect
                self.say(f"{removal.branch}: not removed: {reason} (delivery {removal.delivery})")
                if pause is None or self._stopping.wait(pause):
                    return
                continue
            count = sum(map(len, (removed or {}).values()))
            said = f"removed {count} resources" if count else "there was nothing to remove"
            said = "left alone, as the forge has the branch" if removed is None else said
            self.say(f"{removal.branch}: {said} in {time.monotonic() - begun:.1f} s (delivery {removal.delivery})")
            return

    def _removed(self, removal: Removal) -> dict[str, tuple[str, ...]] | None:
        """Removes what the branch has, within the time for it and for as long as this isn't stopped."""
        cancellation = Cancellation()
        stopped = BranchlineError("the receiver was stopped")
        with (
            cancellation.deadline(_TIME),
            self._cancellation.interrupted_by(lambda: cancellation.cancel(stopped)),
        ):
            return self.remove(removal, cancellation)


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    """By their names in lower case; PEP 3333 has them in CGI's spelling."""
    found = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if kind := environ.get("CONTENT_TYPE"):
        found["content-type"] = str(kind)
    return found


def _line(forge: str, reply: Reply) -> str:
    said: dict[str, Any] = dict(reply.said)
    forge = forge if forge in FORGES else "an unknown forge"  # it is what anybody put into the path
    delivery = f" (delivery {said['delivery']})" if said.get("delivery") else ""
    if reply.removals:
        return f"{forge}: deleted {', '.join(said['removing'])}{delivery}"
    what = said.get("error") or said.get("reason") or said["status"]
    return f"{forge}: {reply.status} {what}{delivery}"
