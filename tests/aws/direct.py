"""A platform in this process, where a test counts calls or puts something between it and AWS."""

from __future__ import annotations

from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.engine import EcsEngine
from branchline.engines.ecs.images import EcsImages
from branchline.engines.ecs.lease import DynamoLease
from branchline.environment import EnvironmentId
from branchline.platform import image_builder
from branchline.ports import Platform, Push
from branchline.settings.application import FILE_NAME
from branchline.settings.platform import Ecs, PlatformSettings
from branchline.settings.reading import read_application
from branchline.source import open_repository
from tests.aws.conftest import MiniStack
from tests.repositories import Repo


def platform_of(name: str, ministack: MiniStack, aws: Aws, state: str) -> Platform:
    """The platform as `branchline.platform` would put it together, on this connection to AWS."""
    settings = PlatformSettings(
        platform=name,
        engine="ecs",
        state_dir=state,
        ecs=Ecs(registry=ministack.registry, load_balancer=ministack.load_balancer),
    )
    lease = DynamoLease(aws, name)
    images = EcsImages(aws, settings, lambda: image_builder(settings))
    return Platform(name=name, engine=EcsEngine(aws, settings, lease, images), images=images, lease=lease)


def push_of(platform: str, repo: Repo, branch: str = "main") -> Push:
    """The branch's latest commit."""
    repository = open_repository(str(repo.path), repo.path.parent / "mirrors")
    commit = repository.resolve(branch, None)
    application = read_application(repository.read(commit, FILE_NAME), FILE_NAME)
    return Push(EnvironmentId(platform, "shop", branch), commit, application, source=repository, branch_known=True)
