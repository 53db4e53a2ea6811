"""Waits until a release is healthy, and finds out why where it isn't.

Healthy is what the user says it is: an HTTP path that answers 2xx or 3xx, or the image's own HEALTHCHECK. Its command
is run right away and often, since the engine would wait a whole interval (30 s by default) before its first check. The
port has to take connections from outside the container in any case, as the router will make them.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.engines.docker import sockets
from branchline.engines.docker.client import Client
from branchline.engines.docker.records import Container, ContainerDetails, ImageDetails
from branchline.errors import ReleaseError
from branchline.redaction import redact
from branchline.settings.application import Health

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5
_PATIENCE = 5.0
"""Seconds after which the user is told what is being waited for."""
LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Probe:
    """How one release's health is found out."""

    container: str
    address: str
    port: int
    port_rule: str
    """Where the port comes from, for the message about a wrong one."""
    host: str
    """The Host header, since applications may refuse any but their own."""
    health: Health
    command: tuple[str, ...]
    """The image's HEALTHCHECK; empty where a path is what counts."""
    memory: str
    secrets: frozenset[str] = frozenset()
    """Values that are not to be shown, whoever prints them."""

    @property
    def rule(self) -> str:
        """What has to be true, in words."""
        if self.command:
            return "the image's HEALTHCHECK"
        return f"HTTP {self.path} on port {self.port}"

    @property
    def path(self) -> str:
        """The path to ask for."""
        return self.health.path or "/"


def probe_of(container: Container, image: ImageDetails | None, variables: Mapping[str, str]) -> Probe:
    """The probe of a release that served before, by what its labels say of its health."""
    health = msgspec.json.decode(container.labels[labels.HEALTH], type=Health)
    hidden = container.labels.get(labels.SECRETS, "").split(",")
    return Probe(
        container=container.id,
        address=container.address,
        port=int(container.labels[labels.PORT]),
        port_rule="where it served before",
        host=container.labels[labels.HOST],
        health=health,
        command=image.healthcheck if image is not None and health.path is None else (),
        memory="the one it was started with",
        secrets=frozenset(variables[name] for name in hidden if variables.get(name)),
    )


def wait_until_healthy(client: Client, probe: Probe, cancellation: Cancellation, tell: Callable[[str], None]) -> None:
    """Returns once the release is healthy.

    Raises:
        ReleaseError: it exited, or wasn't healthy before its deadline; says which and why, with its last lines.
    """
    try:
        _wait(client, probe, cancellation, lambda text: tell(redact(text, probe.secrets)))
    except ReleaseError as error:
        raise ReleaseError(
            redact(error.message, probe.secrets),
            remedy=error.remedy,
            details=[redact(line, probe.secrets) for line in error.details],
        ) from error


def _wait(client: Client, probe: Probe, cancellation: Cancellation, tell: Callable[[str], None]) -> None:
    begun = time.monotonic()
    deadline = begun + probe.health.timeout
    pause, told = _FIRST_PAUSE, False
    while True:
        cancellation.check()
        details = client.inspect(probe.container)
        if details is None or not details.running:
            raise _exited(client, probe, details)
        problem = _problem(client, probe, details, deadline, cancellation)
        if not problem:
            return
        now = time.monotonic()
        if now >= deadline:
            raise _unhealthy(client, probe, details, problem)
        if now - begun > _PATIENCE and not told:
            told = True
            tell(f"still waiting for {probe.rule}: {problem}")
        cancellation.wait(min(pause, max(deadline - now, 0.0)))
        pause = min(pause * 1.25, _LONGEST_PAUSE)


def _problem(
    client: Client, probe: Probe, details: ContainerDetails, deadline: float, cancellation: Cancellation
) -> str:
    """Why the release isn't healthy yet; empty where it is."""
    if not probe.command:
        return _ask(probe, deadline)
    refused = _connect(probe)
    if refused:
        return refused
    if details.health == "healthy":
        return ""
    return _run_check(client, probe, details, deadline, cancellation)


def _connect(probe: Probe) -> str:
    try:
        with socket.create_connection((probe.address, probe.port), timeout=probe.health.request_timeout):
            return ""
    except OSError as error:
        return f"port {probe.port} doesn't take connections ({_plain(error)})"


def _ask(probe: Probe, deadline: float) -> str:
    # A request that hangs must not outlive the deadline by a whole request's time-out.
    timeout = max(0.1, min(probe.health.request_timeout, deadline - time.monotonic()))
    connection = http.client.HTTPConnection(probe.address, probe.port, timeout=timeout)
    try:
        connection.request("GET", probe.path, headers={"Host": probe.host, "User-Agent": "branchline-health"})
        status = connection.getresponse().status
    except TimeoutError:
        return f"HTTP {probe.path} gave no answer within {timeout:g} s"
    except OSError as error:
        return f"port {probe.port} doesn't take connections ({_plain(error)})"
    except http.client.HTTPException as error:
        return f"what listens on port {probe.port} doesn't answer in HTTP ({type(error).__name__})"
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"HTTP {probe.path} answered {status}, not 2xx or 3xx"


def _run_check(
    client: Client, probe: Probe, details: ContainerDetails, deadline: float, cancellation: Cancellation
) -> str:
    kind, *words = probe.command
    command = ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words
    started, refused = client.run_quietly(probe.container, command)
    if refused:
        return f"the HEALTHCHECK can't be run: {refused}"
    while (code := client.command_result(started)) is None:
        if time.monotonic() >= deadline:
            return "the HEALTHCHECK didn't end in time"
        cancellation.wait(_FIRST_PAUSE)
    printed = f": {details.health_output.splitlines()[-1]}" if details.health_output else ""
    return "" if code == 0 else f"the HEALTHCHECK ended with exit code {code}{printed}"


def _plain(error: OSError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()


def _exited(client: Client, probe: Probe, details: ContainerDetails | None) -> ReleaseError:
    if details is None:
        return ReleaseError("the container was removed while it started", remedy="see who else uses this engine")
    lines = last_lines(client, probe.container)
    if details.out_of_memory:
        return ReleaseError(
            f"the container ran out of memory (its limit is {probe.memory})",
            remedy="raise limits.memory in branchline.toml, or make the application need less",
            details=lines,
        )
    if details.error:
        return ReleaseError(
            f"the container can't be started: {details.error}", remedy="check the image's CMD and ENTRYPOINT"
        )
    ended = "ended by itself" if details.exit_code == 0 else "exited"
    return ReleaseError(
        f"the container {ended} with exit code {details.exit_code} before it was healthy",
        remedy="its last lines say why" if lines else "it printed nothing; run the image by hand to see more",
        details=lines,
    )


def _unhealthy(client: Client, probe: Probe, details: ContainerDetails, problem: str) -> ReleaseError:
    listening = sockets.listening(details.pid) if details.pid else None
    remedy = "mend it, or set health.path and health.timeout in branchline.toml"
    here = sorted({listener.port for listener in listening or () if not listener.loopback})
    inside = sorted({listener.port for listener in listening or () if listener.loopback})
    if listening is not None and probe.port not in here:
        if probe.port in inside:
            problem = f"it listens on port {probe.port} on loopback only, where no one outside its container reaches it"
            remedy = "let the application listen on 0.0.0.0"
        elif here:
            ports = " and ".join(str(port) for port in here)
            problem = f"it listens on port {ports}, not on {probe.port} ({probe.port_rule})"
            remedy = f"set port = {here[0]} in branchline.toml, or change EXPOSE in the Dockerfile"
        elif not inside:
            problem = f"it listens on no port at all; {probe.port} was expected ({probe.port_rule})"
            remedy = "see what it waits for; health.timeout in branchline.toml allows it more time"
    return ReleaseError(
        f"not healthy within {probe.health.timeout:g} s: {problem}",
        remedy=remedy,
        details=last_lines(client, probe.container),
    )


def last_lines(client: Client, container: str) -> tuple[str, ...]:
    """The last lines that the container printed."""
    return tuple(client.logs(container, LINES_SHOWN).decode("utf-8", "replace").splitlines())
