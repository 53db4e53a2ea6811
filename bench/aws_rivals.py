"""The ways to deploy to Amazon ECS that are compared. Each is a whole process, with environments of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.aws_sandbox import DOMAIN, AwsSandbox
from bench.measuring import BenchError, Run, run
from bench.sandbox import BRANCHLINE
from branchline import naming

FIRST, AGAIN = "first", "again"
OURS, BARE, SHELL, ECS_DEPLOY = "branchline deploy", "boto3 script", "aws commands", "ecs-deploy"
_REPOSITORY = "rivals"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Deploy:
    """What a rival is to deploy."""

    what: str
    """`FIRST`, or `AGAIN` in place of what serves."""
    branch: str
    host: str
    release: str
    image: str
    """What its image is to be called; Branchline chooses by itself."""
    priority: int
    """The listener rule's."""

    @property
    def arguments(self) -> tuple[str, str, str, str]:
        """What both scripts are told."""
        return self.what, self.host, self.release, self.image


@dataclass
class Rival:
    """One way, and what it took."""

    name: str
    command: Callable[[Deploy], list[str | Path]]
    first: bool = True
    """Whether it can make an environment; otherwise the boto3 script makes it, unmeasured."""
    runs: dict[str, list[Run]] = field(default_factory=lambda: {FIRST: [], AGAIN: []})


class Race:
    """Deploys in turn by each rival, in one sandbox."""

    def __init__(self, here: AwsSandbox) -> None:
        self._here = here
        self._priority = 0
        bare = [sys.executable, _HERE / "aws_bare.py"]
        self.rivals = [
            Rival(OURS, lambda deploy: [BRANCHLINE, "deploy", "--json", "--branch", deploy.branch]),
            Rival(BARE, lambda deploy: [*bare, *deploy.arguments]),
            Rival(SHELL, lambda deploy: [_HERE / "aws_commands.sh", *deploy.arguments]),
            Rival(ECS_DEPLOY, _ecs_deploy, first=False),
        ]
        self._bare = self.rivals[1]
        self._environment = here.environment | _what_scripts_know(here) | {"DOCKER": _docker(here)}
        here.aws.ecr.create_repository(repositoryName=_REPOSITORY)

    def warm_up(self) -> None:
        """One round that isn't counted: modules are compiled, the base is cached, the repositories are there."""
        self.round(0)
        for rival in self.rivals:
            rival.runs = {FIRST: [], AGAIN: []}

    def round(self, number: int) -> None:
        """A first deploy by each, then a redeploy by each; who begins changes from round to round."""
        turn = number % len(self.rivals)
        order = self.rivals[turn:] + self.rivals[:turn]
        for what in (FIRST, AGAIN):
            for rival in order:
                self._deploy(rival, number, what)
        for rival in order:
            self._end(rival, number)

    def _deploy(self, rival: Rival, number: int, what: str) -> None:
        deploy = self._prepare(rival, number, what)
        counts = what == AGAIN or rival.first
        command = (rival if counts else self._bare).command(deploy)
        done = run(command, cwd=self._here.repo.path, env=self._environment | {"PRIORITY": str(deploy.priority)})
        self._here.verify(deploy.host, deploy.release)
        if counts:
            rival.runs[what].append(done)

    def _prepare(self, rival: Rival, number: int, what: str) -> Deploy:
        """Commits the release on the environment's branch."""
        branch = f"{rival.name.replace(' ', '-')}-{number}"
        release = f"{what} {branch}"
        self._here.repo.checkout(branch, create=what == FIRST)
        self._here.commit(release)
        self._priority += 1
        host = f"{naming.slug(branch)}--shop.{DOMAIN}" if rival.name == OURS else f"{branch}.{DOMAIN}"
        image = f"{self._here.registry}/{_REPOSITORY}:{branch}-{what}"
        return Deploy(what, branch, host, release, image, self._priority)

    def _end(self, rival: Rival, number: int) -> None:
        """Its container must not slow down who comes next."""
        branch = f"{rival.name.replace(' ', '-')}-{number}"
        if rival.name == OURS:
            self._here.branchline("destroy", branch)
        else:
            self._here.aws.ecs.delete_service(cluster=self._environment["CLUSTER"], service=branch, force=True)


def _what_scripts_know(here: AwsSandbox) -> dict[str, str]:
    """What has no part in the race: a script's author would have written it down."""
    base = here.base
    return {
        "CLUSTER": f"branchline-{here.platform}",
        "VPC": base.vpc,
        "SUBNETS": ",".join(base.subnets),
        "SECURITY_GROUP": base.security_group,
        "LISTENER": base.load_balancer.listener,
        "EXECUTION_ROLE": base.execution_role,
        "TASK_ROLE": base.task_role,
        "ROUTER": here.router,
        "DOCKER_BUILDKIT": "1",
    }


def _ecs_deploy(deploy: Deploy) -> list[str | Path]:
    """It only updates a service, so that the image is built and pushed before. Docker is logged in already."""
    script = (
        '"$DOCKER" build --quiet --tag "$1" . && "$DOCKER" push --quiet "$1"'
        ' && ecs deploy "$CLUSTER" "$2" --image app "$1" --timeout 60'
    )
    return ["sh", "-euc", script, "sh", deploy.image, deploy.branch]


def _docker(here: AwsSandbox) -> str:
    """A docker command that builds with BuildKit; newer ones need a plug-in for it."""
    environment = here.environment | {"DOCKER_BUILDKIT": "1"}
    for program in ("/usr/bin/docker", shutil.which("docker") or ""):
        with suppress(BenchError, OSError):
            run([program, "build", "--quiet", "."], cwd=here.repo.path, env=environment)
            return program
    raise BenchError("no docker command here builds with BuildKit: 'make bench' installs one")
