"""What AWS is asked for, and how tags hold it: pure decisions of the ECS engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchline import labels
from branchline.engines.ecs import failures, inventory, names, sizes, specs, tags
from branchline.engines.ecs.base import Base, LoadBalancer
from branchline.environment import EnvironmentId, Release
from branchline.errors import ConfigurationError
from branchline.image import Image
from branchline.ports import Push
from branchline.settings.application import Application, Deploy, Health, Task
from branchline.settings.platform import Ceilings, PlatformSettings

IMAGE = Image("sha256:1", ("8000/tcp",), {}, "arm64")
BASE = Base(
    platform="p",
    vpc="vpc-1",
    subnets=("subnet-1", "subnet-2"),
    security_group="sg-1",
    capacity="fargate-spot",
    capacity_provider="",
    execution_role="arn:aws:iam::123456789012:role/execution",
    task_role="arn:aws:iam::123456789012:role/task",
    domain="preview.example.com",
    scheme="https",
    dns="wildcard",
    hosted_zone="Z1",
    log_retention=14,
    shards=1,
    load_balancer=LoadBalancer("bl-p-1", "arn", "dns", "Z2", "listener"),
)
ON_EC2 = replace(BASE, capacity="ec2-spot", capacity_provider="branchline-p-capacity")
MAIN = EnvironmentId("p", "shop", "main")
RELEASE = Release(MAIN, 3, "c" * 40, datetime(2026, 11, 24, tzinfo=UTC), "registry/p/shop:main.c")
BRANCHES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=250)


def push(**settings: object) -> Push:
    return Push(MAIN, RELEASE.commit, Application(**settings), env={"LOG_LEVEL": "debug"})  # type: ignore[arg-type]


def task(push: Push, base: Base = BASE) -> dict:
    values = specs.release_values(push, RELEASE, "main--shop.x", 8000, RELEASE.created, PlatformSettings())
    return dict(specs.task_definition(push, RELEASE, IMAGE, "main--shop.x", 8000, base, "eu-west-1", values))


@given(st.dictionaries(st.sampled_from([labels.BRANCH, labels.REPOSITORY, labels.REASON]), st.text(max_size=900)))
def test_tags_lose_nothing_and_keep_to_the_alphabet(values: dict[str, str]) -> None:
    values = {key: text.encode("utf-8", "replace").decode() for key, text in values.items()}
    made = tags.encode(values)
    assert tags.decode(made) == values
    for value in made.values():
        assert len(value) <= 256
        assert not set(value) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/=+-@")


def test_a_branch_that_is_not_utf8_comes_back_from_its_tags() -> None:
    branch = b"caf\xe9".decode("utf-8", "surrogateescape")
    environment = EnvironmentId("p", "shop", branch)
    values = tags.read(tags.ecs_tags(specs.owner(environment)))
    assert specs.environment_id(values) == environment


@given(BRANCHES)
def test_names_keep_to_the_lengths_that_aws_takes(branch: str) -> None:
    environment = EnvironmentId("p" * 20, "s" * 25, branch)
    assert len(names.target_group(environment)) == 32
    assert len(names.load_balancer(environment.platform, 99)) <= 32
    assert len(names.service(environment)) <= 255
    assert len(names.image_tag(environment, "c" * 64, "b" * 12)) <= 128
    assert 1 <= names.priority(branch, 0) <= 50_000


@given(st.integers(1, 9), st.lists(BRANCHES, min_size=1, max_size=30, unique=True))
def test_one_more_load_balancer_moves_environments_only_onto_it(count: int, branches: list[str]) -> None:
    for branch in branches:
        environment = EnvironmentId("p", "shop", branch)
        before, after = names.shards(environment, count)[0], names.shards(environment, count + 1)[0]
        assert after in (before, count + 1)


def test_a_task_on_fargate_has_its_own_network_and_the_images_architecture() -> None:
    made = task(push(ecs=Task(cpu=512, memory=2048)))
    assert (made["networkMode"], made["requiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    assert (made["cpu"], made["memory"]) == ("512", "2048")
    assert made["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    [container] = made["containerDefinitions"]
    assert container["portMappings"] == [{"containerPort": 8000, "protocol": "tcp"}]
    assert {"name": "PORT", "value": "8000"} in container["environment"]
    assert {"name": "LOG_LEVEL", "value": "debug"} in container["environment"]


def test_a_task_on_ec2_takes_any_port_of_the_instance_and_makes_the_cluster_grow() -> None:
    made = task(push(), ON_EC2)
    assert (made["networkMode"], made["requiresCompatibilities"]) == ("bridge", ["EC2"])
    assert made["containerDefinitions"][0]["portMappings"][0]["hostPort"] == 0
    service = specs.service(push(), "arn", "group", 8000, ON_EC2, {})
    assert "networkConfiguration" not in service
    assert "launchType" not in service  # such a task never scales a capacity provider
    assert service.get("capacityProviderStrategy") == [{"capacityProvider": "branchline-p-capacity", "weight": 1}]
    group = specs.target_group(push(), 8000, ON_EC2, "main--shop.x", "")
    assert group.get("TargetType") == "instance"


def test_spot_falls_back_to_on_demand() -> None:
    assert specs.capacity(BASE)[0]["capacityProvider"] == "FARGATE_SPOT"
    assert specs.capacity(BASE, on_demand=True)[0]["capacityProvider"] == "FARGATE"


def test_fargate_gives_a_container_two_minutes_to_stop_at_the_most() -> None:
    long = push(deploy=Deploy(stop_timeout=600))
    assert task(long)["containerDefinitions"][0]["stopTimeout"] == 120
    assert task(long, ON_EC2)["containerDefinitions"][0]["stopTimeout"] == 600


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("ssm:/shop/token", "/shop/token"),
        ("secretsmanager:shop", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop"),
        ("secretsmanager:shop:key", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop:key::"),
        ("arn:aws:ssm:eu-west-1:1:parameter/x", "arn:aws:ssm:eu-west-1:1:parameter/x"),
    ],
)
def test_secrets_are_named_as_ecs_reads_them(reference: str, named: str) -> None:
    [container] = task(push(secrets={"TOKEN": reference}))["containerDefinitions"]
    assert container["secrets"] == [{"name": "TOKEN", "valueFrom": named}]
    assert "TOKEN" not in {item["name"] for item in container["environment"]}


def test_a_health_check_of_the_load_balancer_has_a_timeout_below_its_interval() -> None:
    for request_timeout in (0.1, 1, 5, 30, 300):
        made = specs.health_check(Health(request_timeout=request_timeout))
        assert 2 <= made["HealthCheckTimeoutSeconds"] <= 120
        assert made["HealthCheckTimeoutSeconds"] < made["HealthCheckIntervalSeconds"]
    assert specs.health_check(Health())["HealthCheckIntervalSeconds"] == 5


def test_what_a_release_is_started_with_decides_whether_it_is_the_same() -> None:
    plain = specs.configuration(push(), "image", "host")
    assert plain == specs.configuration(push(), "image", "host")
    for other in (
        specs.configuration(push(env={"A": "1"}, port=1), "image", "host"),
        specs.configuration(push(), "image2", "host"),
        specs.configuration(push(), "image", "host2"),
        specs.configuration(push(secrets={"TOKEN": "ssm:x"}), "image", "host"),
    ):
        assert other != plain


def test_a_task_can_not_be_larger_than_the_operator_allows() -> None:
    large = push(ecs=Task(cpu=8192, memory=16_384))
    with pytest.raises(ConfigurationError) as caught:
        specs.check(large, BASE, PlatformSettings())
    assert "above the ceiling of 4 processors (1024 units each) and 4g" in caught.value.message
    specs.check(large, BASE, PlatformSettings(limits=Ceilings(memory="16g", cpus=8)))


@pytest.mark.parametrize(("cpu", "memory"), [(256, 512), (256, 2048), (1024, 8192), (4096, 30720), (16384, 122880)])
def test_sizes_that_fargate_has_pass(cpu: int, memory: int) -> None:
    sizes.check_fargate_size(cpu, memory)


@pytest.mark.parametrize(
    ("cpu", "memory", "remedy"),
    [
        (256, 4096, "memory may be 512, 1024, 2048; that memory goes with cpu = 512, 1024, 2048"),
        (1024, 512, "memory may be 2048 to 8192 in steps of 1024; that memory goes with cpu = 256"),
        (512, 1500, "memory may be 1024, 2048, 3072, 4096"),
    ],
)
def test_other_sizes_are_refused_with_those_that_there_are(cpu: int, memory: int, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sizes.check_fargate_size(cpu, memory)
    assert caught.value.remedy.startswith("with that cpu, ")
    assert remedy in caught.value.remedy


def stopped(
    reason: str = "", code: int | None = None, *, stop: str = "EssentialContainerExited", detail: str = ""
) -> dict:
    container = {"name": names.CONTAINER, "reason": detail} | ({} if code is None else {"exitCode": code})
    return {"stoppedReason": reason, "stopCode": stop, "containers": [container]}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (stopped("Essential container in task exited", 3), "ended with exit code 3"),
        (stopped("Essential container in task exited", 137), "killed: it may need more memory"),
        (
            stopped(
                "Essential container in task exited",
                137,
                detail="OutOfMemoryError: Container killed due to memory usage",
            ),
            "ran out of memory",
        ),
        (
            stopped(
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found",
                stop="TaskFailedToStart",
            ),
            "its image can't be pulled",
        ),
        (
            stopped(
                "ResourceInitializationError: unable to pull secrets or registry auth: ssm", stop="TaskFailedToStart"
            ),
            "a secret can't be read",
        ),
        (
            stopped("ResourceInitializationError: failed to validate logger args", stop="TaskFailedToStart"),
            "could not be set up",
        ),
        (stopped("Something new", stop="TaskFailedToStart"), "could not be started: Something new"),
    ],
)
def test_a_stopped_task_says_why_in_the_users_words(task: dict, words: str) -> None:
    cause = failures.of_task(task)  # type: ignore[arg-type]
    assert cause
    assert words in cause.message


@pytest.mark.parametrize(
    "task",
    [
        stopped("Your Spot Task was interrupted.", 143, stop="SpotInterruption"),
        stopped("Scaling activity initiated by deployment ecs-svc/1", 0, stop="ServiceSchedulerInitiated"),
        stopped("Task failed ELB health checks in (target-group arn)", 143, stop="ServiceSchedulerInitiated"),
    ],
)
def test_weather_says_nothing_against_a_release(task: dict) -> None:
    assert failures.of_task(task) is None  # type: ignore[arg-type]


def test_a_lack_of_capacity_is_read_from_the_services_events() -> None:
    event = "(service x) was unable to place a task. Reason: Capacity is unavailable at this time."
    assert failures.lacks_capacity(["(service x) has started 1 tasks", event]) == event
    assert failures.lacks_capacity(["(service x) has reached a steady state."]) == ""


def test_the_previous_release_is_read_back_from_its_tag() -> None:
    before = inventory.Previous(7, 3, datetime(2026, 11, 24, 12, tzinfo=UTC), "main.abc")
    assert inventory.previous({labels.PREVIOUS: str(before)}) == before
    assert inventory.previous({}) is None
