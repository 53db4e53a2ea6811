"""Which engine the user means, and why it can't be used where it can't."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import docker.errors
from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.utils import kwargs_from_env

from branchline.errors import ConfigurationError, EngineError

_DEFAULT_SOCKET = "/var/run/docker.sock"
_CONNECT_SECONDS = 5.0


def arguments(host: str) -> dict[str, Any]:
    """The SDK's arguments for the engine that the user means, by the docker command's own rules.

    Raises:
        ConfigurationError: the docker context, or the certificates that the environment names, can't be used.
    """
    if host:
        return {"base_url": host}
    if os.environ.get("DOCKER_HOST"):
        try:
            return dict(kwargs_from_env())
        except docker.errors.TLSParameterError as error:
            directory = os.environ.get("DOCKER_CERT_PATH") or "~/.docker"
            raise ConfigurationError(
                f"DOCKER_HOST is to be used with TLS, and {directory} lacks ca.pem, cert.pem or key.pem",
                remedy="set DOCKER_CERT_PATH to the directory that has them, or unset it and DOCKER_TLS_VERIFY",
            ) from error
    return _arguments_of_context()


def _arguments_of_context() -> dict[str, Any]:
    """As `ContextAPI.kwargs_from_context` gives them, which takes the default socket where a context is missing."""
    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    try:
        known = cast("object | None", ContextAPI.get_context(name))  # its stub leaves the None out
        if known is not None:
            return cast("dict[str, Any]", ContextAPI.kwargs_from_context(name))
        problem = f"there is no docker context {name!r}"
    except Exception as error:  # noqa: BLE001 - the SDK raises Exception itself for a file that it can't read
        problem = f"the docker context {name!r} can't be used: {error}"
    raise ConfigurationError(
        problem, remedy="see 'docker context ls', and choose with 'docker context use', DOCKER_CONTEXT or DOCKER_HOST"
    )


def check_address(address: str, *, anywhere: bool = False) -> None:
    """Finds out why an engine can't be used, which the SDK's error doesn't tell apart.

    With `anywhere`, it may be on another machine, as it may where it only builds.

    Raises:
        ConfigurationError: it is no address of an engine, or that of another machine's.
        EngineError: nobody listens there, or this user has no right to it.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_address(address) from None
    if parts.scheme in ("unix", "http+unix"):
        path = address.partition("://")[2] or _DEFAULT_SOCKET
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, _refusals(address):
            probe.connect(path)
    elif parts.scheme not in ("tcp", "http", "https", "ssh") or not host:
        raise _no_address(address)
    elif not anywhere and host not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigurationError(
            f"the Docker Engine at {parts.scheme}://{host} is on another machine, "
            "where this machine's router can't reach the containers",
            remedy="run branchline on the engine's machine, for example from its git server's hook or over ssh",
        )
    elif parts.scheme == "ssh" or port is None:
        raise _no_address(address)
    else:
        with _refusals(address):
            socket.create_connection((host, port), _CONNECT_SECONDS).close()


@contextmanager
def _refusals(address: str) -> Generator[None]:
    """Says what the system's refusal to connect means."""
    try:
        yield
    except PermissionError as error:
        raise EngineError(
            f"no permission to use the Docker Engine at {address}",
            remedy="add your user to the group that owns the socket (often 'docker'), or run as root",
        ) from error
    except OSError as error:
        raise EngineError(
            f"no Docker Engine answers at {address}",
            remedy="start it (systemctl start docker), or point DOCKER_HOST to the one to use",
        ) from error


def _no_address(address: str) -> ConfigurationError:
    return ConfigurationError(
        f"{address!r} can't be the address of this machine's Docker Engine",
        remedy=f"write it as unix://{_DEFAULT_SOCKET} or tcp://127.0.0.1:2375, in DOCKER_HOST or docker.host",
    )
