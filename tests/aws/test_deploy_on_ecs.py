"""A branch on Amazon ECS, from its first deploy to its end, through the real command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from branchline.engines.ecs import names, services
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.environment import EnvironmentId
from tests.aws import sweep
from tests.aws.app import app
from tests.driver import Branchline
from tests.repositories import Repo
from tests.waiting import eventually


@pytest.fixture
def shop(tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    """A repository whose main answers 'main 1'."""
    return repository(app(tiny_base, "main 1"))


def main_of(base: Base) -> EnvironmentId:
    return EnvironmentId(base.platform, "shop", "main")


def test_a_branch_lives_changes_and_goes_without_a_trace(
    branchline: Branchline, base: Base, aws: Aws, shop: Repo
) -> None:
    first = branchline.deploy(shop)
    assert first["url"] == "http://main--shop.preview.test"
    assert first["state"] == "ready"
    assert first["first"]
    assert branchline.get(first["url"]).text == "main 1"

    assert branchline.deploy(shop)["unchanged"]

    second = shop.commit("Second", {"index.html": "main 2"})
    deployed = branchline.deploy(shop)
    assert deployed["commit"] == second
    assert branchline.get(first["url"]).text == "main 2"

    listed = branchline.list(shop.path)
    assert [(each["branch"], each["commit"], each["state"]) for each in listed] == [("main", second, "ready")]
    shown = branchline("show", "main", "--json", cwd=shop.path).json
    assert shown["previous"]["commit"] == first["commit"]

    branchline("rollback", "main", cwd=shop.path)
    assert branchline.get(first["url"]).text == "main 1"
    branchline("rollback", "main", cwd=shop.path)
    assert branchline.get(first["url"]).text == "main 2"

    third = shop.commit("Third", {"index.html": "main 3"})
    branchline.deploy(shop)
    tags = {tag.rpartition(":")[2] for tag in sweep.images(aws, base.platform)}
    assert tags == {names.image_tag(main_of(base), commit) for commit in (second, third)}
    definitions = aws.ecs.list_task_definitions(familyPrefix=names.family(main_of(base)))["taskDefinitionArns"]
    assert len(definitions) == 2

    removed = branchline("destroy", "main", "--json", cwd=shop.path).json
    kinds = {line.rpartition(" ")[0] for entry in removed for line in entry["removed"]}
    assert kinds >= {"service", "listener rule", "target group", "task definition", "log group", "image"}
    assert branchline.get(first["url"]).status_code == 404
    eventually(lambda: not sweep.everything(aws, base), "nothing is left")
    assert "nothing" in branchline("destroy", "main", cwd=shop.path).out


def test_what_is_asked_of_aws_has_health_gate_draining_and_rollback(
    branchline: Branchline, base: Base, aws: Aws, shop: Repo
) -> None:
    """The emulator does none of it: what can be checked here is that AWS is asked for it."""
    branchline.deploy(shop)
    environment = main_of(base)
    [service] = aws.ecs.describe_services(cluster=names.cluster(base.platform), services=[names.service(environment)])[
        "services"
    ]
    assert service["deploymentConfiguration"] == {
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        "minimumHealthyPercent": 100,
        "maximumPercent": 200,
    }
    assert service["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert service["enableExecuteCommand"]
    assert service["healthCheckGracePeriodSeconds"] == 60
    [group] = aws.elb.describe_target_groups(Names=[names.target_group(environment)])["TargetGroups"]
    assert (group["HealthCheckIntervalSeconds"], group["HealthyThresholdCount"]) == (5, 2)
    assert group["Matcher"]["HttpCode"] == "200-399"
    attributes = aws.elb.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])["Attributes"]
    assert {"Key": "deregistration_delay.timeout_seconds", "Value": "5"} in attributes
    [task] = aws.ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"][
        "containerDefinitions"
    ]
    assert task["logConfiguration"]["logDriver"] == "awslogs"
    [logs] = aws.logs.describe_log_groups(logGroupNamePrefix=names.log_group(environment))["logGroups"]
    assert logs["retentionInDays"] == base.log_retention


def test_a_release_that_ends_fails_with_its_exit_code_and_last_lines(
    branchline: Branchline, tiny_base: str, shop: Repo, aws: Aws, base: Base
) -> None:
    url = branchline.deploy(shop)["url"]
    shop.commit("Broken", app(tiny_base, "main 2", "echo 'no database'; exit 3"))
    failed = branchline.try_("deploy", cwd=shop.path)
    assert failed.code == 1
    assert "its container ended with exit code 3" in failed.err
    assert "no database" in failed.err
    assert "goes on serving" in failed.err
    assert branchline.get(url).text == "main 1"
    [listed] = branchline.list(shop.path)
    assert listed["state"] == "ready"
    assert "exit code 3" in listed["failed"]["failure"]
    assert len(sweep.images(aws, base.platform)) == 1
    assert len(aws.ecs.list_task_definitions(familyPrefix=names.family(main_of(base)))["taskDefinitionArns"]) == 1


def test_a_first_release_that_is_never_healthy_leaves_only_the_word_of_it(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    files = app(tiny_base, "main 1") | {"branchline.toml": '[health]\npath = "/missing"\ntimeout = 2\n'}
    repo = repository(files)
    failed = branchline.try_("deploy", cwd=repo.path)
    assert failed.code == 1
    assert "/missing answered 404" in failed.err
    assert "this is main 1" in failed.err
    [listed] = branchline.list(repo.path)
    assert listed["state"] == "failed"
    left = eventually(
        lambda: [each for each in sweep.everything(aws, base) if not each.startswith("lease")] or ["none"], "a sweep"
    )
    assert left == ["none"]


def test_sleep_frees_the_task_and_wake_brings_it_back(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    branchline("sleep", "main", cwd=shop.path)
    [listed] = branchline.list(shop.path)
    assert listed["state"] == "sleeping"
    eventually(lambda: branchline.get(url).status_code == 503, "nobody answers")
    branchline("wake", "main", cwd=shop.path)
    assert branchline.get(url).text == "main 1"


def test_a_foreign_service_of_our_name_is_left_alone(branchline: Branchline, base: Base, aws: Aws, shop: Repo) -> None:
    name = names.service(main_of(base))
    definition = aws.ecs.register_task_definition(
        family=f"foreign-{base.platform}", containerDefinitions=[{"name": "x", "image": "x", "memory": 8}]
    )["taskDefinition"]["taskDefinitionArn"]
    aws.ecs.create_service(
        cluster=names.cluster(base.platform), serviceName=name, taskDefinition=definition, desiredCount=0
    )
    try:
        for command in (("deploy",), ("destroy", "main")):
            refused = branchline.try_(*command, cwd=shop.path)
            assert refused.code == 2
            assert f"the service {name} is not Branchline's" in refused.err
        [service] = aws.ecs.describe_services(cluster=names.cluster(base.platform), services=[name])["services"]
        assert service["status"] == "ACTIVE"
    finally:
        aws.ecs.delete_service(cluster=names.cluster(base.platform), service=name, force=True)
        aws.ecs.deregister_task_definition(taskDefinition=definition)


def test_secrets_are_given_by_reference_and_never_by_value(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    # Not a SecureString: the emulator hands those to containers without decrypting them.
    aws.session.client("ssm").put_parameter(Name=f"/{base.platform}/token", Value="hidden-1", Type="String")
    serve = 'printf "%s" "$TOKEN" > /www/token; ' + app(tiny_base, "")["start"].splitlines()[1]
    settings = f'[secrets]\nTOKEN = "ssm:/{base.platform}/token"\n'
    repo = repository(app(tiny_base, "main 1", serve) | {"branchline.toml": settings})
    deployed = branchline("deploy", "--json", cwd=repo.path)
    assert branchline.get(deployed.json["url"], "/token").text == "hidden-1"
    service = services.find(aws, main_of(base))
    assert service
    definition = aws.ecs.describe_task_definition(taskDefinition=service.task_definition, include=["TAGS"])
    assert "hidden-1" not in json.dumps(definition, default=str) + deployed.out + deployed.err

    repo.commit("A value", {"branchline.toml": 'env_files = [".env"]\n'})
    (repo.path / ".env").write_text("PASSWORD=hidden-2\n")
    refused = branchline.try_("deploy", cwd=repo.path)
    assert refused.code == 2
    assert "PASSWORD" in refused.err
    assert "hidden-2" not in refused.out + refused.err


def test_a_size_that_fargate_does_not_have_is_refused_before_anything_is_touched(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "main 1") | {"branchline.toml": "[ecs]\ncpu = 256\nmemory = 4096\n"})
    refused = branchline.try_("deploy", cwd=repo.path)
    assert refused.code == 2
    assert "memory may be 512, 1024, 2048" in refused.err
    assert sweep.everything(aws, base) == []


def test_another_port_is_taken_over_and_given_back_by_a_rollback(
    branchline: Branchline, tiny_base: str, shop: Repo
) -> None:
    url = branchline.deploy(shop)["url"]
    files = app(tiny_base, "main 2")
    moved = {name: text.replace("8000", "8001") for name, text in files.items()}
    shop.commit("Another port", moved)
    branchline.deploy(shop)
    assert branchline.get(url).text == "main 2"
    branchline("rollback", "main", cwd=shop.path)
    assert branchline.get(url).text == "main 1"


def test_the_health_check_is_the_serving_releases_own(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, shop: Repo
) -> None:
    def path() -> str:
        [group] = aws.elb.describe_target_groups(Names=[names.target_group(main_of(base))])["TargetGroups"]
        return group["HealthCheckPath"]

    branchline.deploy(shop)
    settings = {"branchline.toml": '[health]\npath = "/index.html"\n'}
    shop.commit("Another path", app(tiny_base, "main 2") | settings)
    branchline.deploy(shop)
    assert path() == "/index.html"
    shop.commit("Broken", app(tiny_base, "main 3", "exit 3") | {"branchline.toml": '[health]\npath = "/no"\n'})
    assert branchline.try_("deploy", cwd=shop.path).code == 1
    assert path() == "/index.html"
    branchline("rollback", "main", cwd=shop.path)
    assert path() == "/"
