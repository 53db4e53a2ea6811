"""Commands on Amazon ECS with 1, 100 and 500 environments: what they ask of AWS should not grow with them."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.aws_sandbox import DOMAIN, AwsSandbox, aws_sandbox
from bench.measuring import rounds, run, shown, table, target
from branchline import labels, naming
from branchline.engines.ecs import names, services, specs, tags
from branchline.engines.ecs.base import LoadBalancer, read_shard
from branchline.engines.ecs.services import Service
from branchline.environment import EnvironmentId

_SIZES = (1, 100, 500)
_SHARDS = 6
"""Load balancers: AWS lets each have 100 target groups."""
_THREADS = 8
_OBSERVED = Path(__file__).with_name("aws_observed.py")
_BUDGETS = {"first deploy": 14, "unchanged deploy": 8, "redeploy": None, "destroy": 12}
_LIST = "list"
_NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent"}


@dataclass
class _Taken:
    """What one command took with so many environments, each time it was run."""

    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    """Without those that wait."""
    waiting: list[int] = field(default_factory=list)


def measure() -> None:
    """The environments beside those that are deployed sleep: each has a service that runs nothing, a task definition, a
    target group and a rule, all with the names and tags that Branchline gives them."""
    with aws_sandbox(shards=_SHARDS) as here:
        here.commit("main")
        here.deploy("main")
        present, taken = 1, dict[tuple[str, int], _Taken]()
        for size in _SIZES:
            begun = time.monotonic()
            _fill(here, range(present, size))
            print(f"  {size} environments: {size - present} more in {time.monotonic() - begun:.0f} s", flush=True)
            present = size
            _observe(here, size, taken)
        _tell(taken)


def _observe(here: AwsSandbox, size: int, taken: dict[tuple[str, int], _Taken]) -> None:
    def take(command: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        _take(here, taken.setdefault((command, size), _Taken()), arguments, env or {})

    for number in rounds(3, 40):
        branch = f"new-{size}-{number}"
        here.repo.checkout(branch, create=True)
        here.commit(f"first {branch}")
        take("first deploy", "deploy")
        take("unchanged deploy", "deploy", env=_NO_ENGINE)
        here.commit(f"second {branch}")
        take("redeploy", "deploy")
        take(_LIST, "list")
        take("destroy", "destroy", branch)


def _take(here: AwsSandbox, into: _Taken, arguments: tuple[str, ...], env: dict[str, str]) -> None:
    file = here.directory / "observed.json"
    done = run([sys.executable, _OBSERVED, file, *arguments], cwd=here.repo.path, env=here.environment | env)
    observed: dict[str, Any] = json.loads(file.read_text())
    into.seconds.append(done.seconds)
    into.waiting.append(observed["waiting"])
    into.calls.append(observed["calls"])


def _tell(taken: dict[tuple[str, int], _Taken]) -> None:
    rows: list[tuple[str, ...]] = []
    for command in (*_BUDGETS, _LIST):
        for size in _SIZES:
            each = taken[command, size]
            waiting = shown(each.waiting, "{:.0f}") if any(each.waiting) else "-"
            rows.append((f"{command}, {size}", shown(each.seconds), shown(each.calls, "{:.0f}"), waiting))
    table(("", "seconds", "calls", "waiting"), rows)
    for command, budget in _BUDGETS.items():
        most = [max(taken[command, size].calls) for size in _SIZES]
        if budget is not None:
            target(f"{command}, calls at most", max(most), at_most=budget)
        print(f"  {command}: {most[-1] - most[0]:+} calls with {_SIZES[-1]} environments instead of {_SIZES[0]}")
    print("  'unchanged deploy' was run with no Docker Engine at hand\n")


def _fill(here: AwsSandbox, numbers: range) -> None:
    model = services.find(here.aws, EnvironmentId(here.platform, "shop", "main"))
    assert model is not None
    balancers = [read_shard(here.aws, here.base, shard) for shard in range(1, _SHARDS + 1)]
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(partial(_make, here, model, balancers), numbers))


def _make(here: AwsSandbox, model: Service, balancers: list[LoadBalancer], number: int) -> None:
    environment = EnvironmentId(here.platform, "shop", f"feature/{number}")
    host = naming.host("{slug}--{project}", environment.slug, environment.project, DOMAIN)
    own = {**specs.owner(environment), labels.HOST: host}
    aws, base = here.aws, here.base
    group = aws.elb.create_target_group(
        Name=names.target_group(environment),
        Protocol="HTTP",
        Port=8000,
        VpcId=base.vpc,
        TargetType="ip",
        Tags=tags.aws_tags(own),
    )["TargetGroups"][0].get("TargetGroupArn", "")
    rule = aws.elb.create_rule(
        ListenerArn=balancers[names.shards(environment, _SHARDS)[0] - 1].listener,
        Priority=names.priority(host, 0),
        Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": [host]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": group}],
        Tags=tags.aws_tags(own),
    )["Rules"][0].get("RuleArn", "")
    task = aws.ecs.register_task_definition(
        family=names.family(environment),
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": names.CONTAINER, "image": "none", "portMappings": [{"containerPort": 8000}]}],
        tags=tags.ecs_tags({**model.values, **own}),
    )["taskDefinition"].get("taskDefinitionArn", "")
    aws.ecs.create_service(
        cluster=names.cluster(here.platform),
        serviceName=names.service(environment),
        taskDefinition=task,
        desiredCount=0,
        capacityProviderStrategy=specs.capacity(base),
        networkConfiguration=specs.network(base),
        loadBalancers=[{"targetGroupArn": group, "containerName": names.CONTAINER, "containerPort": 8000}],
        tags=tags.ecs_tags(specs.service_values({**model.values, **own}, specs.revision(task), None, rule, "")),
    )
