"""What `reap` finds on Amazon ECS: branches that are gone, and what dead deploys left, of any kind."""

from __future__ import annotations

from collections.abc import Callable

from branchline.engines.ecs import names, routing, specs, tags
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.environment import EnvironmentId
from branchline.ports import Push
from branchline.settings.application import Application
from tests.aws import sweep
from tests.aws.app import app
from tests.driver import Branchline
from tests.repositories import Repo
from tests.waiting import eventually


def test_branches_that_are_gone_go_and_the_others_stay(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "main 1"))
    kept = branchline.deploy(repo)["url"]
    repo.checkout("feature/login", create=True)
    repo.commit("Login", {"index.html": "login 1"})
    gone = branchline.deploy(repo)["url"]
    repo.checkout("main")
    repo.delete_branch("feature/login")
    before = sweep.everything(aws, base)
    dry = branchline("reap", "--dry-run", "--json", cwd=repo.path).json
    assert [each["branch"] for each in dry] == ["feature/login"]
    assert sweep.everything(aws, base) == before
    branchline("reap", cwd=repo.path)
    assert branchline.get(gone).status_code == 404
    assert branchline.get(kept).text == "main 1"
    assert [each["branch"] for each in branchline.list(repo.path)] == ["main"]
    assert branchline("reap", "--json", cwd=repo.path).json == []


def test_leftovers_of_every_kind_are_found_by_their_tags_and_removed(
    branchline: Branchline, base: Base, aws: Aws, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(app(tiny_base, "main 1"))
    environment = EnvironmentId(base.platform, "shop", "lost/branch")
    push = Push(environment, "c" * 40, Application())
    routing.make(aws, push, base, "lost.preview.test", 8000, look=False)
    logs = names.log_group(environment)
    aws.logs.create_log_group(logGroupName=logs, tags=tags.encode(specs.owner(environment)))
    aws.ecs.register_task_definition(
        family=names.family(environment),
        containerDefinitions=[{"name": "app", "image": "x", "memory": 8}],
        tags=tags.ecs_tags(specs.owner(environment)),
    )
    foreign = f"{names.log_groups(base.platform)}shop/foreign"
    aws.logs.create_log_group(logGroupName=foreign)
    try:
        dry = branchline("reap", "--dry-run", "--json", cwd=repo.path).json
        assert [each["branch"] for each in dry] == ["lost/branch"]
        kinds = {line.partition(" ")[0] for line in dry[0]["removed"]}
        assert kinds == {"target", "listener", "log", "task"}
        branchline("reap", cwd=repo.path)
        left = eventually(lambda: sweep.everything(aws, base), "a sweep")
        assert left == [foreign]
    finally:
        aws.logs.delete_log_group(logGroupName=foreign)
