"""The platform's images in Amazon ECR: one repository a project, made on its first use.

An image's tags are its environments': each has one of its own, which goes with it, and the image goes with its last.
Tags are immutable, so that one that is there is right, and costs neither a build nor a Docker Engine.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from branchline import labels, naming
from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.image_store import EcsImageStore
from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, BuildError, ConfigurationError
from branchline.events import Publish
from branchline.image import Image
from branchline.ports import Builder, Login, Push

if TYPE_CHECKING:
    from branchline.settings.platform import PlatformSettings

T = TypeVar("T")

_POLL = 0.02
_BUILD = 12
"""Digits of an image's id that tell apart what was made of one commit."""
_LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "An image without a tag belongs to no environment",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        }
    ]
}
"""Tagged images don't expire: however old they are, an environment may serve them.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html"""


class EcsImages(EcsImageStore):
    """See `ports.Images`. `builder` is made when something has to be built: most commands need no Docker Engine."""

    def __init__(self, aws: Aws, settings: PlatformSettings, builder: Callable[[], Builder]) -> None:
        if "/" in settings.ecs.registry:
            raise ConfigurationError(
                f"ecs.registry in platform.toml can't be {settings.ecs.registry!r}",
                remedy="write it as HOST or HOST:PORT",
            )
        super().__init__(aws, settings.platform)
        self._address = settings.ecs.registry
        self._builder = builder
        self._known: dict[str, Image] = {}
        """By reference, what is known from a build or a look."""
        self._uploaded: dict[EnvironmentId, str] = {}
        self._new: set[EnvironmentId] = set()

    def build(self, push: Push, cancellation: Cancellation, publish: Publish) -> tuple[str, bool]:
        """See `ports.Images.build`; the name is `{registry}/{repository}:{tag}`.

        An image that is there costs one call. Otherwise the registry is made ready while the build runs; if that fails,
        the build is cancelled with its error.
        """
        self._uploaded.pop(push.environment, None)
        repository = naming.image_repository(self._platform, push.environment.project)
        exists, account = False, ""
        if push.environment in self._new:
            self._new.remove(push.environment)
        else:
            exists, account = self._find(repository, names.image_tag(push.environment, push.commit))
        if account and not push.force and not push.image:
            return self._reference(push, account), False
        builder = self._builder()
        access = _meanwhile(lambda: self._prepare(push.environment.project, repository, exists=exists), cancellation)
        name = builder.build(push, cancellation, publish)
        try:
            image = builder.image(name)
            if image is None:
                raise BuildError(f"the image {name} was removed as soon as it was built", remedy="run it again")
            account, login = access()
            build = image.id.removeprefix("sha256:")[:_BUILD] if push.force or push.image else ""
            reference = self._reference(push, account, build)
            self._uploaded[push.environment] = reference.rpartition(":")[2]
            builder.upload(push, name, reference, login, cancellation, publish)
        finally:
            builder.discard(name)
        self._known[reference] = image
        return reference, True

    def expect_none(self, environment: EnvironmentId) -> None:
        """Says that the environment is new, so that its next `build` needn't look for an image of it."""
        self._new.add(environment)

    def image(self, push: Push, reference: str, cancellation: Cancellation, publish: Publish) -> Image:
        """What the image of that name says about itself. One that wasn't built in this process is pulled for it.

        Raises:
            BuildError: it isn't there, or the registry can't be reached.
        """
        if reference not in self._known:
            _, login = self._login()
            self._known[reference] = self._builder().fetch(push, reference, login, cancellation, publish)
        return self._known[reference]

    def uploaded(self, environment: EnvironmentId) -> list[str]:
        """The tag that the environment's last `build` here pushed, or began to, so that a deploy that fails can remove
        it again; none where the image was there already."""
        return [tag for tag in (self._uploaded.get(environment),) if tag]

    def _find(self, repository: str, tag: str) -> tuple[bool, str]:
        """Whether the repository exists, and the account of the registry that has the image; '' where it has none."""
        try:
            with asking(f"can't look for the image {repository}:{tag}"):
                answer = self._aws.ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except AwsError as error:
            if error.code in ("ImageNotFoundException", "RepositoryNotFoundException"):
                return error.code == "ImageNotFoundException", ""
            raise
        return True, next((found["registryId"] for found in answer["imageDetails"] if "registryId" in found), "")

    def _reference(self, push: Push, account: str, build: str = "") -> str:
        repository = naming.image_repository(self._platform, push.environment.project)
        address = self._address or f"{account}.dkr.ecr.{self._aws.region}.{self._domain}"
        return f"{address}/{repository}:{names.image_tag(push.environment, push.commit, build)}"

    @property
    def _partition(self) -> str:
        return self._aws.session.get_partition_for_region(self._aws.region)

    @property
    def _domain(self) -> str:
        """https://docs.aws.amazon.com/general/latest/gr/ecr.html"""
        return "amazonaws.com.cn" if self._partition == "aws-cn" else "amazonaws.com"

    def _prepare(self, project: str, repository: str, *, exists: bool) -> tuple[str, Login]:
        """Makes the repository where it is missing; returns the registry's account, and how to log in."""
        created = not exists and self._create(project, repository)
        account, login = self._login()
        if not created and repository not in self._owned:
            arn = f"arn:{self._partition}:ecr:{self._aws.region}:{account}:repository/{repository}"
            if not self._is_ours(repository, arn):
                raise ConfigurationError(
                    f"the image repository {repository} is not of the platform {self._platform}: it lacks the tag"
                    f" {labels.PLATFORM}={self._platform}",
                    remedy="give it the tag if it is to be the platform's, or choose another platform name",
                )
        if created or self._aws.retried["CreateRepository"]:
            self._expire_untagged(repository)
        return account, login

    def _create(self, project: str, repository: str) -> bool:
        """Creates the repository; False where another deploy of the project, or a call that was retried, has."""
        try:
            with asking(f"can't create the image repository {repository}"):
                self._aws.ecr.create_repository(
                    repositoryName=repository,
                    imageTagMutability="IMMUTABLE",
                    imageScanningConfiguration={"scanOnPush": True},
                    tags=[
                        {"Key": key, "Value": value}
                        for key, value in tags.encode(
                            {labels.PLATFORM: self._platform, labels.PROJECT: project}
                        ).items()
                    ],
                )
        except AwsError as error:
            if error.code == "RepositoryAlreadyExistsException":
                return False
            raise
        self._owned.add(repository)
        return True

    def _expire_untagged(self, repository: str) -> None:
        with asking(f"can't set the lifecycle policy of the image repository {repository}"):
            self._aws.ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=json.dumps(_LIFECYCLE))

    def _login(self) -> tuple[str, Login]:
        """The registry's account, and what it wants to see of us for the next 12 hours.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
        """
        with asking("can't get a token for the image registry"):
            (answer,) = self._aws.ecr.get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(answer.get("authorizationToken", "")).decode().partition(":")
        host = urlsplit(answer.get("proxyEndpoint", "")).hostname or ""
        return host.partition(".")[0], Login(user, password)


def _meanwhile(work: Callable[[], T], cancellation: Cancellation) -> Callable[[], T]:
    """Has another thread do the work; returns what waits for its result.

    Work that fails cancels what goes on beside it, which would have been in vain.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is wanted
            future.set_exception(error)
            if isinstance(error, BranchlineError):
                cancellation.cancel(error)

    def result() -> T:
        while not future.done():
            cancellation.wait(_POLL)
        return future.result()

    threading.Thread(target=run, name="registry", daemon=True).start()
    return result
