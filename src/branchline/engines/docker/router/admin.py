"""Caddy's admin API, over its unix socket. Each call has a time-out, so that nobody waits for a router that hangs."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from branchline.errors import RouterError

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred in <sys/socket.h>
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.02


class NotRunningError(RouterError):
    """Nothing listens at the socket."""


class RefusedError(RouterError):
    """Caddy answered, and said no."""


class _BrokenOffError(RouterError):
    """The connection ended before the answer came.

    With each change of the configuration Caddy puts a new server behind the socket, and the old one may still accept a
    connection just before it ends.
    """


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("127.0.0.1", timeout=timeout)  # Caddy takes this Host for its unix socket
        self._path = path

    def connect(self) -> None:
        self.sock = _connected(self._path, self.timeout or 0.0)


def _connected(path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def peer(path: Path, timeout: float) -> int | None:
    """The process that listens at the socket, as the kernel knows it, or None where none does."""
    try:
        connection = _connected(path, timeout)
    except OSError:
        return None
    with connection:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(credentials)
    return int(pid)


class Admin:
    """The admin API of one router. `timeout` is in seconds, for each time that it is waited for."""

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        self.path = path
        self.timeout = timeout

    def load(self, config: bytes) -> None:
        """Has Caddy serve this configuration, or go on with the one it has.

        Caddy compares them first: loading what is loaded already changes nothing.

        Raises:
            RefusedError: Caddy goes on serving what it served.
        """
        self._request("POST", "/load", config)

    def get(self, path: str) -> bytes:
        """The JSON at a path of the API; `null` where the configuration has nothing there."""
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer to a request that may be repeated, as all of them may be."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(_BrokenOffError):
                return self._request_once(method, path, body)
            time.sleep(_PAUSE_SECONDS)
        return self._request_once(method, path, body)

    def _request_once(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = _UnixConnection(self.path, self.timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", "Connection": "close"})
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError as error:
            pid = peer(self.path, self.timeout)
            process = "" if pid is None else f" (process {pid})"
            raise RouterError(
                f"the router{process} does not answer at {self.path} within {self.timeout:g} seconds",
                remedy="end it with 'kill -9" + (f" {pid}'" if pid else "'") + "; the next command starts it again",
            ) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError(f"no router runs at {self.path}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOffError(
                f"the router broke off at {self.path}: {error}", remedy="try again; its log is beside the socket"
            ) from error
        finally:
            connection.close()
        if response.status == 200:
            return answer
        raise RefusedError(f"the router refused {method} {path}: {_reason(answer)}")


def _reason(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace").strip()
