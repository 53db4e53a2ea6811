"""What `branchline logs` and `exec` see on ECS: real containers' output, and what AWS's session plugin is given.

The emulator answers ExecuteCommand with a session that nothing is behind, so a program of the test's own stands in for
the plugin. That the real one then reaches the container is not shown here.
"""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from branchline import labels
from branchline.engines.ecs import names, output, services, session, tags
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, ConfigurationError, EngineError
from tests.aws.conftest import REGION, MiniStack
from tests.waiting import eventually

_PRINT_AND_WAIT = "echo word $NUMBER; trap 'exit 0' TERM; sleep 1000 & wait"


@dataclass(frozen=True)
class Shop:
    """An environment with a service of one small container, which prints `word N`, N being its release."""

    aws: Aws
    engine: docker.DockerClient
    image: str
    environment: EnvironmentId

    def _task_definition(self, number: int) -> str:
        answer = self.aws.ecs.register_task_definition(
            family=names.family(self.environment),
            containerDefinitions=[
                {
                    "name": names.CONTAINER,
                    "image": self.image,
                    "memory": 64,
                    "command": ["sh", "-c", _PRINT_AND_WAIT],
                    "environment": [{"name": "NUMBER", "value": str(number)}],
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {
                            "awslogs-group": names.log_group(self.environment),
                            "awslogs-region": REGION,
                            "awslogs-stream-prefix": str(number),
                        },
                    },
                }
            ],
        )
        return answer["taskDefinition"].get("taskDefinitionArn", "")

    def _values(self, task_definition: str, number: int) -> dict[str, str]:
        return {
            labels.PLATFORM: self.environment.platform,
            labels.RELEASE: str(number),
            labels.COMMIT: str(number) * 40,
            labels.TASK: task_definition.rpartition(":")[2],
        }

    def start(self, *, takes_commands: bool = True) -> None:
        self.aws.ecs.create_cluster(clusterName=names.cluster(self.environment.platform))
        self.aws.logs.create_log_group(logGroupName=names.log_group(self.environment))
        arn = self._task_definition(1)
        self.aws.ecs.create_service(
            cluster=names.cluster(self.environment.platform),
            serviceName=names.service(self.environment),
            taskDefinition=arn,
            desiredCount=1,
            enableExecuteCommand=takes_commands,
            tags=tags.ecs_tags(self._values(arn, 1)),
        )

    def start_and_run(self) -> None:
        self.start()
        eventually(lambda: self.service.running, "the task runs")

    def switch(self, number: int) -> None:
        """Has the service run a release of that number, and says so in its tags once that runs."""
        before = self._tasks_of(number)
        arn = self._task_definition(number)
        cluster, name = names.cluster(self.environment.platform), names.service(self.environment)
        self.aws.ecs.update_service(cluster=cluster, service=name, taskDefinition=arn)
        eventually(lambda: self._tasks_of(number) > before, f"a task of release {number} has a log")
        values = self._values(arn, number)
        self.aws.ecs.tag_resource(resourceArn=self.service.arn, tags=tags.ecs_tags(values))

    def _tasks_of(self, number: int) -> int:
        answer = self.aws.logs.describe_log_streams(
            logGroupName=names.log_group(self.environment), logStreamNamePrefix=output.stream(number, "")
        )
        return len(answer["logStreams"])

    def scale(self, count: int) -> None:
        self.aws.ecs.update_service(
            cluster=names.cluster(self.environment.platform),
            service=names.service(self.environment),
            desiredCount=count,
        )

    def destroy(self) -> None:
        if services.find(self.aws, self.environment) is not None:
            self.aws.ecs.delete_service(
                cluster=names.cluster(self.environment.platform), service=names.service(self.environment), force=True
            )
            self.aws.logs.delete_log_group(logGroupName=names.log_group(self.environment))

    @property
    def service(self) -> Service:
        found = services.find(self.aws, self.environment)
        assert found
        return found

    def say(self, text: str) -> None:
        """Has the application print a line."""
        containers = self.engine.api.containers(
            filters={"label": f"com.amazonaws.ecs.task-definition-family={names.family(self.environment)}"}
        )
        command = ["sh", "-c", f"echo '{text}' > /proc/1/fd/1"]
        self.engine.api.exec_start(self.engine.api.exec_create(containers[0]["Id"], command)["Id"])

    def logs(self, *, tail: int | None = None) -> list[str]:
        found = output.lines(self.aws, self.service, self.environment, follow=False, tail=tail)
        return [line.decode().removesuffix("\n") for line in found]

    def prints(self, *lines: str) -> None:
        eventually(lambda: self.logs() == [*lines], f"the log is {lines}")


@pytest.fixture
def shop(aws: Aws, engine: docker.DockerClient, tiny_base: str, ecs_platform: str) -> Iterator[Shop]:
    """Nothing of it is there yet."""
    made = Shop(aws, engine, tiny_base, EnvironmentId(ecs_platform, "shop", "main"))
    try:
        yield made
    finally:
        if names.cluster(ecs_platform) in "".join(aws.ecs.list_clusters()["clusterArns"]):
            made.destroy()
            aws.ecs.delete_cluster(cluster=names.cluster(ecs_platform))


# logs


def test_logs_are_what_the_task_printed_and_may_be_limited_to_its_last_lines(shop: Shop) -> None:
    shop.start()
    shop.prints("word 1")
    shop.say("zwei für grün")
    shop.prints("word 1", "zwei für grün")
    assert shop.logs(tail=1) == ["zwei für grün"]
    assert shop.logs(tail=5) == ["word 1", "zwei für grün"]
    assert shop.logs(tail=0) == []


class Log:
    """An environment's log group, filled by the test itself."""

    def __init__(self, aws: Aws, environment: EnvironmentId) -> None:
        self._aws = aws
        self._environment = environment
        self._group = names.log_group(environment)
        self._begun = int(time.time() * 1000) - 3_600_000
        aws.logs.create_log_group(logGroupName=self._group)

    def task(self, name: str, *printed: tuple[int, str], release: int = 1) -> None:
        """A task's stream, with lines and the milliseconds after the test's beginning at which they were printed."""
        stream = output.stream(release, name)
        self._aws.logs.create_log_stream(logGroupName=self._group, logStreamName=stream)
        for start in range(0, len(printed), 10_000):
            self._aws.logs.put_log_events(
                logGroupName=self._group,
                logStreamName=stream,
                logEvents=[
                    {"timestamp": self._begun + after, "message": text}
                    for after, text in printed[start : start + 10_000]
                ],
            )

    def read(self, *, tail: int | None = None, release: int = 1) -> list[str]:
        service = services.read({"tags": tags.ecs_tags({labels.RELEASE: str(release)})})
        found = output.lines(self._aws, service, self._environment, follow=False, tail=tail)
        return [line.decode().removesuffix("\n") for line in found]


@pytest.fixture
def log(aws_account: Aws, ecs_platform: str) -> Log:
    return Log(aws_account, EnvironmentId(ecs_platform, "shop", "main"))


def test_lines_of_tasks_that_overlapped_are_in_the_order_of_time(log: Log) -> None:
    log.task("z-first", (0, "starts"), (20, "ends soon"), (40, "ended"))
    log.task("a-second", (30, "starts too"), (50, "goes on"))
    log.task("other", (10, "not this release's"), release=10)
    everything = ["starts", "ends soon", "starts too", "ended", "goes on"]
    assert log.read() == everything
    for count in range(1, 6):
        assert log.read(tail=count) == everything[-count:]


def test_the_last_lines_are_read_without_those_of_earlier_tasks(aws_account: Aws, log: Log) -> None:
    for number in range(12):
        log.task(f"task-{number}", *((number * 100 + line, f"{number} {line}") for line in range(5)))
    before = aws_account.calls["logs:GetLogEvents"]
    assert log.read(tail=3) == ["11 2", "11 3", "11 4"]
    assert aws_account.calls["logs:GetLogEvents"] - before == 2
    assert log.read(tail=7) == ["10 3", "10 4", *(f"11 {line}" for line in range(5))]
    assert len(log.read()) == 60


def test_a_log_of_any_length_is_read_to_its_end(log: Log) -> None:
    log.task("long", *((number, f"line {number}") for number in range(10_500)))
    everything = [f"line {number}" for number in range(10_500)]
    assert log.read() == everything
    assert log.read(tail=10_200) == everything[-10_200:]
    assert log.read(tail=20_000) == everything


def test_where_nothing_was_printed_yet_the_log_is_empty(aws_account: Aws, ecs_platform: str, log: Log) -> None:
    assert log.read() == log.read(tail=5) == []
    log.task("silent")
    assert log.read() == log.read(tail=5) == []
    without_a_group = EnvironmentId(ecs_platform, "shop", "other")
    assert [*output.lines(aws_account, services.read({}), without_a_group, follow=False, tail=None)] == []
    assert output.last_lines(aws_account, without_a_group, 1, "task") == ()


@dataclass
class Follower:
    """Follows a log in a thread."""

    lines: list[str] = field(default_factory=list)
    errors: list[BranchlineError] = field(default_factory=list)

    def run(self, source: Iterator[bytes]) -> None:
        try:
            self.lines.extend(line.decode().removesuffix("\n") for line in source)
        except BranchlineError as error:
            self.errors.append(error)

    def prints(self, *lines: str) -> None:
        def seen() -> bool:
            assert not self.errors
            assert self.lines == [*lines]
            return True

        eventually(seen, f"{lines} is printed", timeout=20)


@contextmanager
def following(shop: Shop, *, tail: int | None = None) -> Iterator[Follower]:
    follower = Follower()
    source = output.lines(shop.aws, shop.service, shop.environment, follow=True, tail=tail)
    thread = threading.Thread(target=follower.run, args=(source,))
    thread.start()
    try:
        yield follower
    finally:
        shop.destroy()  # which ends it
        thread.join(20)
    assert not thread.is_alive()
    assert not follower.errors


def test_following_goes_on_through_sleep_and_releases_until_the_branch_is_destroyed(shop: Shop) -> None:
    shop.start()
    shop.prints("word 1")
    shop.say("of the first life of release 1")
    shop.switch(2)
    shop.prints("word 2")
    with following(shop, tail=1) as follower:
        follower.prints(*(expected := ["word 2"]))
        shop.say("as it comes")
        shop.scale(0)
        follower.prints(*(expected := [*expected, "as it comes", "--- main sleeps ---"]))
        shop.scale(1)
        follower.prints(*(expected := [*expected, "--- started again ---", "word 2"]))
        shop.switch(1)  # a rollback: what release 1 printed before isn't printed again
        follower.prints(*(expected := [*expected, "--- release 1, commit 111111111111 ---", "word 1"]))
    assert follower.lines == [*expected, "--- main was destroyed ---"]


# exec


@dataclass(frozen=True)
class Plugin:
    """A stand-in for AWS's plugin, on the PATH: it notes what it gets, and does what the test says."""

    directory: Path

    def install(self, does: str = "exit 0", version: str = "1.2.764.0") -> None:
        program = self.directory / "session-manager-plugin"
        program.write_text(
            f"""\
#!/bin/sh
if [ "$1" = --version ]; then echo {version}; exit; fi
cd {self.directory}
printf '%s\\n' "$@" > arguments
printenv AWS_SSM_START_SESSION_RESPONSE > session
{does}
"""
        )
        program.chmod(0o755)

    @property
    def arguments(self) -> list[str]:
        return (self.directory / "arguments").read_text().splitlines()

    @property
    def session(self) -> dict[str, str]:
        return json.loads((self.directory / "session").read_text())

    @property
    def was_run(self) -> bool:
        return (self.directory / "arguments").exists()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Plugin(tmp_path)


def run(shop: Shop, *command: str) -> int:
    return session.run(shop.aws, shop.service, shop.environment, command, terminal=True)


def test_the_plugin_gets_the_session_of_the_serving_task_and_its_token_only_in_its_environment(
    shop: Shop, plugin: Plugin, ministack: MiniStack
) -> None:
    shop.start_and_run()
    plugin.install(does="exit 7")
    assert run(shop, "ls", "-l") == 7
    cluster = names.cluster(shop.environment.platform)
    [arn] = shop.aws.ecs.list_tasks(cluster=cluster)["taskArns"]
    [task] = shop.aws.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
    runtime = task.get("containers", [{}])[0].get("runtimeId")
    target = {"Target": f"ecs:{cluster}_{arn.rpartition('/')[2]}_{runtime}"}
    response, region, operation, profile, parameters, endpoint = plugin.arguments
    assert (response, region, operation) == ("AWS_SSM_START_SESSION_RESPONSE", REGION, "StartSession")
    assert (profile, json.loads(parameters), endpoint) == ("", target, ministack.url)
    assert set(plugin.session) == {"SessionId", "StreamUrl", "TokenValue"}
    assert plugin.session["TokenValue"]
    assert plugin.session["TokenValue"] not in " ".join(plugin.arguments)


def test_a_commands_words_reach_ecs_as_they_are(shop: Shop, plugin: Plugin) -> None:
    shop.start_and_run()
    plugin.install()
    asked: list[dict[str, object]] = []
    shop.aws.ecs.meta.events.register(
        "provide-client-params.ecs.ExecuteCommand", lambda params, **_: asked.append(params)
    )
    assert run(shop, "sh", "-c", "echo 'a b'; ls $HOME", "") == 0
    assert asked[0]["command"] == """sh -c 'echo '"'"'a b'"'"'; ls $HOME' ''"""
    assert (asked[0]["container"], asked[0]["interactive"]) == (names.CONTAINER, True)


@pytest.mark.parametrize(
    ("version", "words"),
    [("", "session-manager-plugin, and it isn't on the PATH"), ("1.2.497.0", "is 1.2.497.0, which takes")],
)
def test_without_a_plugin_that_keeps_the_token_nothing_is_asked_of_aws(
    version: str, words: str, aws: Aws, plugin: Plugin, ecs_platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(plugin.directory))
    if version:
        plugin.install(version=version)
    environment = EnvironmentId(ecs_platform, "shop", "main")
    with pytest.raises(ConfigurationError) as refused:
        session.run(aws, services.read({"desiredCount": 1}), environment, ["ls"], terminal=True)
    assert words in refused.value.message
    assert "session-manager-working-with-install-plugin" in refused.value.remedy
    assert not aws.calls
    assert not plugin.was_run


def test_a_branch_without_a_task_that_takes_commands_says_why(shop: Shop, plugin: Plugin) -> None:
    shop.start(takes_commands=False)
    eventually(lambda: shop.service.running, "the task runs")
    plugin.install()

    def refused() -> BranchlineError:
        with pytest.raises(EngineError) as error:
            run(shop, "ls")
        return error.value

    assert "main takes no commands: its task was started with ECS Exec switched off" in refused().message
    service = shop.service
    shop.scale(0)
    assert (refused().message, refused().remedy) == ("main sleeps", "wake it: branchline wake main")
    with pytest.raises(EngineError, match="main isn't running: "):  # as when it keeps crashing
        session.run(shop.aws, service, shop.environment, ["ls"], terminal=True)
    assert not plugin.was_run


class Answer(io.BytesIO):
    """The body of an answer that botocore takes for AWS's."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def test_a_task_whose_agent_is_not_there_yet_is_asked_again(shop: Shop, plugin: Plugin) -> None:
    """ECS has two ways to say it, and the emulator neither: what AWS answers takes the place of the first answers."""
    shop.start_and_run()
    plugin.install(does="exit 3")
    errors = [
        ("TargetNotConnectedException", ""),
        (
            "InvalidParameterException",
            "The execute command failed because execute command was not enabled when the task was run or the execute "
            "command agent isn\u2019t running. Wait and try again or run a new task with execute command enabled and "
            "try again.",
        ),
    ]

    def refuse(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        if not errors:
            return None
        code, message = errors.pop(0)
        body = Answer(json.dumps({"__type": code, "message": message}).encode())
        return AWSResponse(request.url, 400, HTTPHeaders(), body)

    events: Any = shop.aws.ecs.meta.events  # its stubs know of no handler that answers
    events.register("before-send.ecs.ExecuteCommand", refuse)
    assert run(shop, "ls") == 3
    assert shop.aws.calls["ecs:ExecuteCommand"] == 3


def test_without_a_terminal_the_end_of_the_input_is_a_key_and_the_plugins_own_input_goes_on(
    shop: Shop, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.start_and_run()
    for given, sent in ((b"", b"\x04"), (b"a\n", b"a\n\x04"), (b"a\nb", b"a\nb\x04\x04")):
        plugin.install(does=f"head -c {len(sent)} > input; timeout 0.2 cat; exit $?")
        (plugin.directory / "given").write_bytes(given)
        with (plugin.directory / "given").open() as standard_input:
            monkeypatch.setattr(sys, "stdin", standard_input)
            code = session.run(shop.aws, shop.service, shop.environment, ["cat"], terminal=False)
        assert (plugin.directory / "input").read_bytes() == sent
        assert code == 124, "its input had an end"


def when_ready(plugin: Plugin, do: Callable[[], None]) -> threading.Thread:
    """Does something once the plugin has made the file `ready`."""

    def wait() -> None:
        eventually((plugin.directory / "ready").exists, "the plugin runs")
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_without_a_terminal_ctrl_c_is_passed_on_to_the_plugin(
    shop: Shop, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.start_and_run()
    plugin.install(does="trap 'exit 5' INT; touch ready; while sleep 0.02; do :; done")
    monkeypatch.setattr(sys, "stdin", None)
    interrupts = when_ready(plugin, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert session.run(shop.aws, shop.service, shop.environment, ["cat"], terminal=False) == 5
    interrupts.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_that_is_cancelled_takes_the_plugin_along(
    shop: Shop, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.start_and_run()
    plugin.install(does="echo $$ > pid; touch ready; exec sleep 1000")
    monkeypatch.setattr(sys, "stdin", None)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line has it
    cancels = when_ready(plugin, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with pytest.raises(KeyboardInterrupt):
            session.run(shop.aws, shop.service, shop.environment, ["cat"], terminal=False)
    finally:
        cancels.join()
        signal.signal(signal.SIGTERM, before)
    assert not Path("/proc", (plugin.directory / "pid").read_text().strip()).exists()


_RUN = """\
import sys
from branchline.engines.ecs import services, session
from branchline.engines.ecs.aws import Aws
from branchline.environment import EnvironmentId
from branchline.settings.platform import Ecs
aws, environment = Aws(Ecs()), EnvironmentId(sys.argv[1], "shop", "main")
sys.exit(session.run(aws, services.find(aws, environment), environment, ["cat"], terminal=True))
"""


def test_a_terminals_ctrl_c_reaches_the_plugin_once_and_the_terminal_is_left_as_it_was(
    shop: Shop, plugin: Plugin
) -> None:
    shop.start_and_run()
    plugin.install(
        does="stty -icanon -echo; trap 'echo once; count=1$count' INT; echo ready\n"
        "until [ $count ]; do sleep 0.02; done; sleep 0.2; exit $count"
    )
    ours, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    command = [sys.executable, "-c", _RUN, shop.environment.platform]
    # A process group of its own is what a terminal's keys send signals to.
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"ready\n"
        assert termios.tcgetattr(terminal) != before
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == b"once\n"
        assert process.wait(10) == 1
        assert process.stderr.read() == b""
    assert termios.tcgetattr(terminal) == before
    os.close(ours)
    os.close(terminal)
