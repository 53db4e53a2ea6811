"""What the Docker Engine refuses, and what keeps it from answering, in the user's words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import docker.errors
import requests

from branchline.errors import EngineError

SLOW = 120
"""Seconds that one call may take; stopping a container takes its stop time-out longer."""


class RefusedError(EngineError):
    """The engine is there, has room, and won't do what it was asked."""


@contextmanager
def errors(doing: str, address: str) -> Generator[None]:
    """Turns the SDK's errors into ours."""
    try:
        yield
    except docker.errors.APIError as error:
        text = str(error.explanation or error)
        if "no space left on device" in text:
            raise EngineError(f"{doing}: the engine's disk is full", remedy=DISK_REMEDY) from error
        raise RefusedError(f"{doing}: {text}", remedy=_LOG_REMEDY if error.is_server_error() else "") from error
    except requests.exceptions.ReadTimeout as error:
        raise EngineError(f"{doing}: the engine at {address} gave no answer in {SLOW} s", remedy=_LOG_REMEDY) from error
    except (requests.exceptions.RequestException, docker.errors.DockerException) as error:
        # The SDK wraps what happens while it connects.
        cause = error.__cause__ if isinstance(error.__cause__, requests.exceptions.RequestException) else error
        broken_off = isinstance(cause, requests.exceptions.ConnectionError)
        why = "" if broken_off and not isinstance(cause, requests.exceptions.SSLError) else f": {error}"
        raise EngineError(
            f"{doing}: lost the engine at {address}{why}", remedy="see that the Docker Engine runs: docker version"
        ) from error


_LOG_REMEDY = "see the engine's log, for example: journalctl --unit docker"
DISK_REMEDY = "see what takes the space with 'docker system df', and free some, for example with 'docker builder prune'"
