"""HTTP for forges and notifiers: bounded in time and size, retried where that is safe, and silent about secrets.

It is urllib3, which boto3 stands on: the Lambda has that and nothing more. Redirects are not followed, since a token
must not go where it wasn't meant for. A URL can be a secret itself, so errors name only its host.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from branchline import __version__
from branchline.errors import BranchlineError

if TYPE_CHECKING:
    import urllib3

_LARGEST = 10 * 2**20
"""Bytes of an answer. A forge's page of a hundred pull requests has less."""
_WORDS = {
    "ConnectTimeoutError": "no connection within the time for it",
    "LocationParseError": "that is no address",
    "NameResolutionError": "no such name is known",
    "NewConnectionError": "no connection",
    "ProtocolError": "it ended the connection",
    "ReadTimeoutError": "no answer within the time for it",
    "SSLError": "its certificate is not valid, or it speaks no TLS",
}
"""What urllib3's errors are called here; their own words hold the URL."""
_LONGEST = 30.0
"""Seconds for an answer as a whole: a service that sends a byte now and then is never late for the next one."""
_LONGEST_WAIT = 5.0
"""Seconds that a service may ask us to wait before we try again."""
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2"""


class WebError(BranchlineError):
    """A service refused a request, or didn't answer it. `status` is 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            WebError: it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise WebError("the answer is not JSON", status=self.status) from error


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    data: object = None,
    timeout: float = 5.0,
    attempts: int = 3,
    accept: tuple[int, ...] = (),
) -> Answer:
    """Sends a request, with `data` as JSON, and returns the answer. Bytes are sent as they are.

    What wasn't taken at all is sent again: a connection that failed, and an answer that says so. A request that may
    have been carried out, such as one whose answer was lost, is sent again only if its method is idempotent.

    Args:
        method: such as `POST`.
        url: with its query. It may hold a secret.
        headers: in addition to our own.
        data: anything that `json.dumps` takes, or JSON already in bytes; None for no body.
        timeout: seconds to connect, and seconds between two bytes of the answer.
        attempts: how often it is sent at the most, within a few seconds.
        accept: further statuses that are no error, in addition to 2xx, such as 404.

    Raises:
        WebError: another answer, or none.
    """
    sent = {"user-agent": f"branchline/{__version__}", **(headers or {})}
    body = None
    if data is not None:
        sent["content-type"] = "application/json"
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
    for attempt in range(1, attempts + 1):
        answer = _try(method, url, body, sent, timeout, last=attempt == attempts)
        if answer is not None and (attempt == attempts or answer.status not in _may_be_repeated(method)):
            break
        time.sleep(_wait(answer, attempt))
    else:
        raise AssertionError("the last attempt answers or raises")
    if 200 <= answer.status < 300 or answer.status in accept:
        return answer
    raise WebError(
        f"{_where(url)} answers {answer.status}{_reason(answer)}", status=answer.status, remedy=_remedy(answer.status)
    )


def _try(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float, *, last: bool
) -> Answer | None:
    """One attempt's answer; None where there was none and it may be repeated."""
    from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

    try:
        answer = _sent(method, url, body, headers, timeout)
    except (HTTPError, ValueError) as error:
        never_sent = isinstance(error, ConnectTimeoutError | NewConnectionError)
        if not last and (never_sent or (method in _IDEMPOTENT and isinstance(error, HTTPError))):
            return None
        # Neither with the error's own words nor as its consequence: urllib3 tells the whole URL.
        raise WebError(
            f"{_where(url)} doesn't answer: {_in_words(error)}", remedy="check the address and the network"
        ) from None
    if len(answer.body) > _LARGEST:
        raise WebError(f"{_where(url)} answers with more than {_LARGEST // 2**20} MiB", status=answer.status)
    return answer


def _sent(method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Answer:
    """Sends it, from a thread of its own: nothing ends a read from outside, so one without an end is left to itself.

    Raises:
        HTTPError, ValueError: urllib3's.
        WebError: it takes too long.
    """
    outcomes: list[Answer | Exception] = []

    def send() -> None:
        try:
            response = _way_to(url).request(
                method, url, body=body, headers=headers, timeout=timeout, retries=False, preload_content=False
            )
            try:
                content = response.read(_LARGEST + 1)
            finally:
                response.release_conn()
            said = {name.lower(): value for name, value in response.headers.items()}
            outcomes.append(Answer(response.status, said, content))
        except Exception as error:  # noqa: BLE001 - raised below
            outcomes.append(error)

    sending = threading.Thread(target=send, name="asks", daemon=True)
    sending.start()
    sending.join(_LONGEST)
    if not outcomes:
        raise WebError(f"{_where(url)} doesn't answer: not the whole of it in {_LONGEST:g} s", remedy="try again later")
    outcome = outcomes[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _in_words(error: Exception) -> str:
    kind = type(error).__name__
    return _WORDS.get(kind, kind)


def _may_be_repeated(method: str) -> tuple[int, ...]:
    """The answers after which it is sent again. A gateway's may come although the service has done it."""
    return (429, 502, 503, 504) if method in _IDEMPOTENT else (429, 503)


def _wait(answer: Answer | None, attempt: int) -> float:
    """Seconds until the next attempt: as the service says, within limits, or ever longer."""
    said = answer.headers.get("retry-after", "") if answer is not None else ""
    return min(float(said), _LONGEST_WAIT) if said.isdecimal() else 0.2 * 2**attempt


def _where(url: str) -> str:
    """The part of a URL that is no secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _way_to(url: str) -> urllib3.PoolManager:
    """The connections to use: by the proxy of HTTPS_PROXY and the like, as git and boto3 have it, or directly."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme, "")
    return _pool("" if not proxy or proxy_bypass(parts.hostname or "") else proxy)


@lru_cache(maxsize=4)
def _pool(proxy: str) -> urllib3.PoolManager:
    from urllib3 import PoolManager, ProxyManager

    if not proxy:
        return PoolManager(num_pools=16, maxsize=4)
    return ProxyManager(proxy if "://" in proxy else f"http://{proxy}", num_pools=16, maxsize=4)


def _reason(answer: Answer) -> str:
    """A few words of what the service says about it, where it says that as all forges and Slack do."""
    try:
        said: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    words = cast("dict[str, object]", said) if isinstance(said, dict) else {}
    text = words.get("message") or words.get("error")
    return f": {text[:200]}" if isinstance(text, str) else ""


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "check the token, and what it is allowed to do"
    return "check the address, and what the token may see" if status == 404 else ""
