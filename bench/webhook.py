"""A branch's deletion by webhook, as MiniStack has it on this machine: what the function weighs, and what it takes."""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from bench.aws_sandbox import AwsSandbox, aws_sandbox
from bench.measuring import BenchError, ratios, rounds, run, shown, table, target
from branchline import naming
from branchline.engines.ecs import names, services
from branchline.engines.ecs.package import function_code
from branchline.engines.ecs.webhook_secret import EcsSecrets
from branchline.environment import EnvironmentId
from tests.aws import sweep
from tests.aws.base import Door, listen
from tests.forge_payloads import branch_deleted, signed

_BARE = Path(__file__).with_name("webhook_bare.py")
_POLL = 0.01
_PATIENCE = 60.0
_IMPORT = "import time, sys; begun = time.perf_counter(); import {}; print(time.perf_counter() - begun)"
BOTO3, OURS = "import boto3", "import index"
COLD, WARM, SCRIPT = "by webhook, cold", "by webhook, warm", "boto3 script"


@dataclass
class _Removals:
    """One way to remove an environment, and what it took."""

    seconds: list[float] = field(default_factory=list[float])
    calls: list[int] = field(default_factory=list[int])


def measure() -> None:
    """The function's code first, then whole deletions."""
    with aws_sandbox() as here:
        _weigh(here)
        door = listen(here.aws, here.platform, here.url)
        _race(here, door)


def _weigh(here: AwsSandbox) -> None:
    """The runtime has boto3, compiled; it finds the function's own code as text, and can't keep what it compiles."""
    code, task = function_code(), here.directory / "task"
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(task)
        size = sum(entry.file_size for entry in archive.infolist())
    environment = here.environment | {"PYTHONPATH": str(task), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPYCACHEPREFIX")
    taken: dict[str, list[float]] = {BOTO3: [], OURS: []}
    for number in range(10):
        for name, module in ((BOTO3, "boto3"), (OURS, "index")):
            seconds = float(run([sys.executable, "-c", _IMPORT.format(module)], env=environment).out)
            if number:  # the first fills the page cache
                taken[name].append(seconds)
    print(f"  the zip has {len(code) / 1000:.0f} kB; unpacked, {size / 1000:.0f} kB")
    table(("9 fresh processes each", "seconds"), [(name, shown(each, "{:.3f}")) for name, each in taken.items()])
    over = [mine - bare for mine, bare in zip(taken[OURS], taken[BOTO3], strict=True)]
    target("seconds that the function's own code takes to import", statistics.median(over), at_most=0.3)
    print()


def _race(here: AwsSandbox, door: Door) -> None:
    here.commit("main")
    removals = {name: _Removals() for name in (COLD, WARM, SCRIPT)}
    branches = (f"branch-{number}" for number in count())
    for number in rounds(6, 150):
        for name, removal in removals.items():
            branch = next(branches)
            here.repo.branch(branch)
            here.deploy(branch)
            seconds, calls = (
                _by_script(here, branch) if name == SCRIPT else _by_webhook(here, door, branch, name == COLD)
            )
            if number:  # the first makes the function's log, and compiles
                removal.seconds.append(seconds)
                removal.calls.append(calls)
    bare = removals[SCRIPT]
    print(f"  {len(bare.seconds)} rounds")
    table(
        ("seconds until the last resource is gone", "whole", "times the script", "calls", "times the script"),
        [
            (
                name,
                shown(each.seconds),
                "-" if each is bare else shown(ratios(each.seconds, bare.seconds)),
                shown(each.calls, "{:.0f}"),
                "-" if each is bare else f"{statistics.median(each.calls) / statistics.median(bare.calls):.1f}",
            )
            for name, each in removals.items()
        ],
    )


def _by_webhook(here: AwsSandbox, door: Door, branch: str, cold: bool) -> tuple[float, int]:
    """From the forge's request on; the seconds, and the calls that the function made for it."""
    environment = EnvironmentId(here.platform, "shop", branch)
    if cold:
        now = here.aws.functions.get_function_configuration(FunctionName=door.function)
        variables = now.get("Environment", {}).get("Variables", {})
        here.aws.functions.update_function_configuration(
            FunctionName=door.function, Environment={"Variables": variables}, Description=branch
        )
    event, payload = branch_deleted("github", branch, str(here.repo.path))
    headers, body = signed("github", event, payload, EcsSecrets(here.aws, door.secret).read()[0])
    begun = time.monotonic()
    answer = httpx.post(f"{door.url}/webhooks/github", headers=headers, content=body, timeout=30)
    if answer.status_code != 202:
        raise BenchError(f"the delivery is answered {answer.status_code}: {answer.text}")
    _wait(lambda: _target_group(here, environment) == "", f"{branch} is removed")  # which goes last
    seconds = time.monotonic() - begun
    delivery = answer.json()["delivery"]
    done: list[Any] = []
    _wait(lambda: bool(done.extend(_logged(here, door, delivery)) or done), "the function says what it did")
    _check(here, environment)
    # Beside the work itself: the secret is read, and the work handed over.
    return seconds, done[0]["calls"] + 1 + cold * 2


def _by_script(here: AwsSandbox, branch: str) -> tuple[float, int]:
    """A whole process; the seconds, and its calls."""
    environment = EnvironmentId(here.platform, "shop", branch)
    service = services.find(here.aws, environment)
    if service is None:
        raise BenchError(f"{branch} has no service")
    tag = names.image_tag(environment, here.repo.head)
    known = {
        "rule": service.rule,
        "cluster": names.cluster(here.platform),
        "service": names.service(environment),
        "log_group": names.log_group(environment),
        "repository": naming.image_repository(here.platform, "shop"),
        "images": [{"imageTag": tag}],
        "task_definition": service.task_definition,
        "target_group": service.target_group,
    }
    done = run([sys.executable, _BARE], env=here.environment | {"KNOWN": json.dumps(known)})
    _check(here, environment)
    return done.seconds, int(done.out)


def _target_group(here: AwsSandbox, environment: EnvironmentId) -> str:
    groups: Any = here.aws.elb
    try:
        found = groups.describe_target_groups(Names=[names.target_group(environment)])["TargetGroups"]
    except groups.exceptions.TargetGroupNotFoundException:
        return ""
    return found[0]["TargetGroupArn"] if found else ""


def _logged(here: AwsSandbox, door: Door, delivery: str) -> Iterator[Any]:
    pages = here.aws.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{door.function}")
    lines = (event.get("message", "") for page in pages for event in page["events"])
    found = (json.loads(line) for line in lines if line.startswith('{"what": "removed"'))
    return (line for line in found if line["delivery"] == delivery)


def _check(here: AwsSandbox, environment: EnvironmentId) -> None:
    """Returns once nothing of it is left: a task takes a moment to end."""
    marks = (
        f"{environment.slug}--shop",
        f"shop/{environment.slug}",
        f"shop--{environment.slug}",
        f"shop:{environment.slug}.",
    )

    def gone() -> bool:
        return not any(mark in each for each in sweep.everything(here.aws, here.base) for mark in marks)

    _wait(gone, f"nothing of {environment.branch} is left")


def _wait(condition: Any, reason: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {_PATIENCE:g} s: {reason}")
        time.sleep(_POLL)
