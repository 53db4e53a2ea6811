"""The reference pages say what the commands print on Amazon ECS, and what they make there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from branchline.engines.ecs import names, services, tags
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.environment import EnvironmentId
from tests.aws.app import app
from tests.docs.pages import DOCS, first_cells, section
from tests.driver import Branchline
from tests.repositories import Repo

JSON = (DOCS / "reference" / "json.md").read_text()
LABELS = (DOCS / "reference" / "labels.md").read_text()
CONTAINERS = (DOCS / "reference" / "containers.md").read_text()
EVERYTHING = "service, task definition, target group, rule, log group, repository"


def keys(title: str) -> set[str]:
    """The keys of a documented shape."""
    found = set(re.findall(r"^\| `(\w+)` \|", section(JSON, title), re.MULTILINE))
    assert found, title
    return found


def test_the_base_is_made_and_removed_with_the_documented_json(
    branchline: Branchline, ecs_platform: str, tmp_path: Path
) -> None:
    def asked(*arguments: str) -> Any:
        return branchline("aws", *arguments, "--name", f"{ecs_platform}-2", "--json", cwd=tmp_path).json

    changes = asked("bootstrap", "--dry-run")
    assert set(changes) == keys("Base changes")
    platform = f"{ecs_platform}-2"
    stacks = names.base_stack(platform), names.webhook_stack(platform)
    assert tuple(changes["changes"]) == stacks
    listed = [change for stack in stacks for change in changes["changes"][stack]]
    assert {frozenset(each) for each in listed} == {frozenset(keys("Base change"))}
    made = asked("bootstrap")
    assert set(made) == keys("Base")
    assert made["stacks"] == dict.fromkeys(stacks, "created")
    assert made["webhook"].startswith("http")
    assert {frozenset(each) for each in asked("doctor")} == {frozenset(keys("Check"))}
    assert set(asked("teardown")) == keys("Base removed")


def test_what_a_branch_has_is_documented(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    shop = repository(app(tiny_base, "main 1", "env > /www/env; trap 'exit 0' TERM; httpd -f -p 8000 -h /www & wait"))
    forever = {"BRANCHLINE_LIFETIME": "24"}
    first = branchline.deploy(shop, env=forever)
    shop.commit("Second", {"index.html": "main 2"})
    second = branchline.deploy(shop, env=forever)
    assert set(second) == keys("Environment") | keys("Deploy")
    assert set(second["seconds"]) == {"build", "start", "healthy", "total"}
    assert set(second["release"]) == keys("Release")
    assert second["previous"] == first["release"]

    given = re.findall(r"^(BRANCHLINE_\w+|PORT)=", branchline.get(second["url"], "/env").text, re.MULTILINE)
    assert set(given) == set(first_cells(section(CONTAINERS, "Environment variables")))

    rows = dict(re.findall(r"^\| `(branchline:[\w-]+)` \| ([^|]+?) \|", section(LABELS, "On AWS"), re.MULTILINE))
    everywhere = set(EVERYTHING.split(", "))
    said = {
        label: everywhere - {"repository"} if where == "everything but repository" else where_of(where)
        for label, where in rows.items()
    }
    assert said.pop("branchline:record") == {"service", "target group"}, "there is no DNS here, so no record"
    assert found(aws, base, second) == said


def where_of(text: str) -> set[str]:
    return set(text.replace("everything", EVERYTHING).split(", "))


def found(aws: Aws, base: Base, environment: Mapping[str, Any]) -> dict[str, set[str]]:
    """By tag, what carries it."""
    main = EnvironmentId(base.platform, "shop", "main")
    service = services.find(aws, main)
    assert service is not None
    definition = aws.ecs.describe_task_definition(taskDefinition=service.task_definition, include=["TAGS"])
    routes = aws.elb.describe_tags(ResourceArns=[service.target_group, service.rule])["TagDescriptions"]
    groups = aws.logs.describe_log_groups(logGroupNamePrefix=names.log_group(main))["logGroups"]
    [group] = (each.get("arn", "").removesuffix(":*") for each in groups)
    repository = environment["release"]["image"].partition("/")[2].rpartition(":")[0]
    described = aws.ecr.describe_repositories(repositoryNames=[repository])["repositories"]
    [images] = (each.get("repositoryArn", "") for each in described)
    carried = {
        "service": service.values,
        "task definition": tags.read(definition["tags"]),
        "target group": tags.read(routes[0].get("Tags", [])),
        "rule": tags.read(routes[1].get("Tags", [])),
        "log group": aws.logs.list_tags_for_resource(resourceArn=group)["tags"],
        "repository": tags.read(aws.ecr.list_tags_for_resource(resourceArn=images)["tags"]),
    }
    return {
        label: {kind for kind, values in carried.items() if label in values} for label in set().union(*carried.values())
    }
