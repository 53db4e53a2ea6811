"""Which engine the user means, and why it can't be used where it can't."""

from __future__ import annotations

import os
import socket
from typing import Any, cast
from urllib.parse import urlsplit

import docker.errors
from docker.context import ContextAPI
from docker.utils import kwargs_from_env

from branchline.errors import ConfigurationError, EngineError


def arguments(host: str) -> dict[str, Any]:
    """The SDK's arguments for the engine that the user means, by the docker command's own rules."""
    if host:
        return {"base_url": host}
    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    try:
        return cast("dict[str, Any]", ContextAPI.kwargs_from_context())
    except docker.errors.DockerException as error:
        raise ConfigurationError(
            f"the docker context can't be used: {error}", remedy="see 'docker context ls', or set DOCKER_HOST"
        ) from error


def check_address(address: str) -> None:
    """Finds out why a socket can't be used, which the SDK's error doesn't tell apart."""
    parts = urlsplit(address)
    if parts.scheme in ("unix", "http+unix"):
        path = address.split("://", 1)[1]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
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
    elif parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ConfigurationError(
            f"the Docker Engine at {parts.scheme}://{parts.hostname or ''} is on another machine, "
            "where this machine's router can't reach the containers",
            remedy="run branchline on the engine's machine, for example from its git server's hook or over ssh",
        )
