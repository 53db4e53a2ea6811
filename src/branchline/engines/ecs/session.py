"""Runs a command in a task's container by ECS Exec: AWS opens a session, and its own plugin speaks in it.

The plugin speaks Session Manager's protocol, and the AWS command line has it installed too. It is called in the same
way, except that the session's token goes into its environment and not onto its command line, where everybody on this
machine could read it.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from branchline import labels
from branchline.engines.ecs import names, specs
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import SessionTypeDef, TaskTypeDef

_PLUGIN = "session-manager-plugin"
_INSTALL = (
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
)
_RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"
"""The environment variable in which the plugin looks for the session, where it is named in the session's place."""
_TOO_OLD = (1, 2, 497, 0)
"""The last version of the plugin that knows no such variable."""
_AGENT_STARTS = 10.0
"""Seconds in which a task's agent has to be there for a session: it starts a moment after the container."""
_POLL = 0.5
_CHUNK = 1 << 16
_END_OF_INPUT = b"\x04"
"""Ctrl-D, as a terminal has it: a command has no other input in ECS Exec."""


def run(aws: Aws, service: Service, environment: EnvironmentId, command: Sequence[str], *, terminal: bool) -> int:
    """Runs the command in the serving release, with our input, output and errors; returns the plugin's exit code.

    That is 0 once the session was held, however the command ended: ECS Exec doesn't hand its exit code on. It also
    gives every command a terminal, so that output and errors are one, and input may come back as an echo. `terminal`
    says whether we have one: if so it is the plugin's, Ctrl-C included, and otherwise signals are passed on to it.

    Raises:
        ConfigurationError: the plugin isn't installed, or is too old. Nothing was asked of AWS then.
        EngineError: no task runs, or none that takes commands.
    """
    plugin = _find_plugin()
    if not service.desired:
        raise EngineError(f"{environment.branch} sleeps", remedy=f"wake it: branchline wake {environment.branch}")
    task = _serving_task(aws, service, environment)
    started = _start(aws, environment, task, command)
    session = {"SessionId": "sessionId", "StreamUrl": "streamUrl", "TokenValue": "tokenValue"}
    response = {name: started.get(key, "") for name, key in session.items()}
    target = json.dumps({"Target": _target(task)})
    arguments = [plugin, _RESPONSE, aws.region, "StartSession", _profile(aws), target, _endpoint(aws)]
    return _attend(arguments, {**os.environ, _RESPONSE: json.dumps(response)}, terminal=terminal)


# What AWS is asked for


def _serving_task(aws: Aws, service: Service, environment: EnvironmentId) -> TaskTypeDef:
    """The running task of the release that serves: the tags name it, while the next one isn't healthy yet."""
    cluster = names.cluster(environment.platform)
    with asking("can't read the tasks"):
        listed = aws.ecs.list_tasks(cluster=cluster, serviceName=service.name, desiredStatus="RUNNING")["taskArns"]
        tasks = aws.ecs.describe_tasks(cluster=cluster, tasks=listed)["tasks"] if listed else []
    running = [task for task in tasks if task.get("lastStatus") == "RUNNING"]
    if not running:
        why = service.events[0] if service.events else "ECS runs no task of it"
        raise EngineError(
            f"{environment.branch} isn't running: {why}", remedy=f"see why: branchline logs {environment.branch}"
        )
    revision = service.values.get(labels.TASK, "")
    serving = (task for task in running if str(specs.revision(task.get("taskDefinitionArn", ""))) == revision)
    return next(serving, running[0])


def _start(aws: Aws, environment: EnvironmentId, task: TaskTypeDef, command: Sequence[str]) -> SessionTypeDef:
    """Starts the command, once the task's agent takes it."""
    if not task.get("enableExecuteCommand"):
        raise EngineError(
            f"{environment.branch} takes no commands: its task was started with ECS Exec switched off",
            remedy="deploy it again, which switches it on: branchline deploy --force",
        )
    deadline = time.monotonic() + _AGENT_STARTS
    while True:
        try:
            with asking(f"can't run a command in {environment.branch}"):
                return aws.ecs.execute_command(
                    cluster=names.cluster(environment.platform),
                    task=task.get("taskArn", ""),
                    container=names.CONTAINER,
                    command=shlex.join(command),
                    interactive=True,  # there is no other way yet
                )["session"]
        except AwsError as error:
            if not _agent_is_missing(error):
                raise
            if time.monotonic() > deadline:
                raise AwsError(
                    error.message,
                    code=error.code,
                    remedy="the task role needs the ssmmessages permissions and the task a way to Systems Manager: "
                    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec-troubleshooting.html",
                ) from error
        time.sleep(_POLL)


def _agent_is_missing(error: AwsError) -> bool:
    """Whether the task's agent isn't connected, as in the first moments; ECS has two ways to say so."""
    return error.code == "TargetNotConnectedException" or (
        error.code == "InvalidParameterException" and "execute command agent" in error.message
    )


def _target(task: TaskTypeDef) -> str:
    """What Session Manager calls the container: `ecs:cluster_task_runtime`, by their ids."""
    cluster, number = (task.get(key, "").rpartition("/")[2] for key in ("clusterArn", "taskArn"))
    containers = (item for item in task.get("containers", []) if item.get("name") == names.CONTAINER)
    runtime = next((item.get("runtimeId", "") for item in containers), "")
    return f"ecs:{cluster}_{number}_{runtime}"


def _profile(aws: Aws) -> str:
    """The profile whose credentials the plugin takes, to resume a broken session; '' where none was chosen."""
    name = aws.session.profile_name
    return "" if name == "default" else name


def _endpoint(aws: Aws) -> str:
    """Where the plugin finds Systems Manager."""
    session: Any = aws.session  # its stubs know services by literal names only
    return str(session.client("ssm").meta.endpoint_url)


# The plugin


def _find_plugin() -> str:
    """The path of the plugin's program."""
    found = shutil.which(_PLUGIN)
    if found is None:
        raise ConfigurationError(
            f"commands on Amazon ECS need AWS's {_PLUGIN}, and it isn't on the PATH", remedy=f"install it: {_INSTALL}"
        )
    version = subprocess.run(
        [found, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    ).stdout.strip()
    if re.fullmatch(r"\d+(\.\d+)*", version) and tuple(map(int, version.split("."))) <= _TOO_OLD:
        raise ConfigurationError(
            f"{found} is {version}, which takes a session's secret token only where everybody on this machine sees it",
            remedy=f"install a newer one: {_INSTALL}",
        )
    return found


def _attend(arguments: list[str], environment: dict[str, str], *, terminal: bool) -> int:
    """Runs the plugin to its end; returns its exit code, or the shell's for the signal that ended it."""
    # Without a terminal, it has a process group of its own: what Ctrl-C sends to ours is then passed on only once.
    given = None if terminal else subprocess.PIPE
    passed_on = _PassedOn()
    with (
        _its_own_keys() if terminal else _handling(signal.SIGINT, signal.SIGQUIT, handler=passed_on.handle),
        subprocess.Popen(arguments, env=environment, stdin=given, bufsize=0, start_new_session=not terminal) as plugin,
    ):
        try:
            passed_on.begin(plugin)
            if plugin.stdin is not None:
                threading.Thread(target=_send_input, args=(plugin.stdin,), name="input", daemon=True).start()
            code = plugin.wait()
        except BaseException:
            plugin.kill()
            plugin.wait()
            raise
    return code if code >= 0 else 128 - code


def _send_input(to: IO[bytes]) -> None:
    """Sends what we are given, and at its end a Ctrl-D, since the plugin gives up at the end of its own input.

    https://github.com/aws/amazon-ssm-agent/issues/354
    """
    last = b"\n"
    with suppress(OSError, ValueError):  # the plugin has ended, and our end of it may be closed
        while sys.stdin is not None and (piece := os.read(sys.stdin.fileno(), _CHUNK)):
            _write(to, piece)
            last = piece
        # Within a line, a first one only sends the line so far (POSIX, XBD 11.1.9).
        _write(to, _END_OF_INPUT if last.endswith(b"\n") else _END_OF_INPUT * 2)


def _write(to: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[to.write(view) :]


@contextmanager
def _its_own_keys() -> Generator[None]:
    """The keys that send a signal do so to the plugin as well, which passes them on to the command: they aren't ours.

    They are handled by nothing, rather than ignored, as the plugin would inherit that. The terminal gets its settings
    back, since the plugin may leave some changed: https://github.com/aws/session-manager-plugin/issues/34
    """
    descriptor = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    before = None if descriptor is None else termios.tcgetattr(descriptor)
    try:
        with _handling(signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, handler=lambda _number, _frame: None):
            yield
    finally:
        if descriptor is not None and before is not None:
            with suppress(termios.error):  # it was closed
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _PassedOn:
    """The signals that a terminal's keys would send are the command's. One that comes again ends us."""

    def __init__(self) -> None:
        self._plugin: subprocess.Popen[bytes] | None = None
        self._numbers: list[int] = []

    def handle(self, number: int, _: FrameType | None) -> None:
        """A signal's handler."""
        if number in self._numbers:
            raise KeyboardInterrupt
        self._numbers.append(number)
        if self._plugin is not None:
            self._plugin.send_signal(number)

    def begin(self, plugin: subprocess.Popen[bytes]) -> None:
        """The plugin runs: it also gets what came while it was being started."""
        self._plugin = plugin
        for number in self._numbers:
            plugin.send_signal(number)


@contextmanager
def _handling(*signals: int, handler: Callable[[int, FrameType | None], object]) -> Generator[None]:
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
