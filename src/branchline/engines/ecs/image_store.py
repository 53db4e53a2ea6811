"""The images that a platform keeps in ECR: whose they are, and their removal. Making them is `images`' affair."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from branchline import labels, naming
from branchline.engines.ecs import names, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.environment import EnvironmentId

if TYPE_CHECKING:
    from types_boto3_ecr.type_defs import ImageIdentifierTypeDef

_BATCH = 100
"""https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html"""
_TAG = re.compile(r"([a-z0-9-]+)\.([0-9a-f]+)(?:\.[0-9a-f]+)?")
"""What `names.image_tag` makes: slug, commit and perhaps build."""


class EcsImageStore:
    """One platform's image repositories. See `ports.ImageStore`."""

    def __init__(self, aws: Aws, platform: str) -> None:
        self._aws = aws
        self._platform = platform
        self._owned: set[str] = set()
        """The repositories that were seen to be ours."""

    def projects(self) -> frozenset[str]:
        """See `ports.ImageStore.projects`: those that have a repository, with images in it or none."""
        return frozenset(repository.rpartition("/")[2] for repository in self._repositories(None))

    def prune(self, project: str) -> list[str]:  # noqa: ARG002 - the protocol's
        """Removes nothing: each environment has tags of its own, and the engine removes those, with `remove_tags` and
        `remove`, as it retires releases and destroys environments. There is nothing that only a look at all of the
        project's environments could find."""
        return []

    def owners(self, project: str | None = None) -> dict[str, frozenset[str]]:
        """By project, the slugs of the environments that have images; of one project, or of all."""
        found: dict[str, frozenset[str]] = {}
        for repository in self._repositories(project):
            matches = map(_TAG.fullmatch, self._tags(repository))
            found[repository.rpartition("/")[2]] = frozenset(match.group(1) for match in matches if match)
        return found

    def remove(self, environment: EnvironmentId, keep: Collection[str] = ()) -> list[str]:
        """Removes the environment's images but those whose commit, tag or reference is in `keep`; returns their names.

        This lists all tags of the project, 1,000 a call. Where the tags are known, `remove_tags` is cheaper.
        """
        kept = {item.rpartition(":")[2] for item in keep}
        going: list[str] = []
        for repository in self._repositories(environment.project):
            for tag in self._tags(repository):
                match = _TAG.fullmatch(tag)
                if match and match.group(1) == environment.slug and not {tag, match.group(2)} & kept:
                    going.append(tag)
        return self.remove_tags(environment, going)

    def remove_tags(self, environment: EnvironmentId, going: Collection[str]) -> list[str]:
        """Removes these tags, or references, of the environment's; returns the names of those that were there.

        A call for each hundred. They come from what carries our tags, such as the environment's task definitions, so
        that the repository isn't looked at again. Tags of other environments are left alone, and missing is no error.
        """
        repository = naming.image_repository(self._platform, environment.project)
        found = sorted({item.rpartition(":")[2] for item in going})
        own = [tag for tag in found if tag.startswith(names.image_tags(environment))]
        removed: list[str] = []
        for start in range(0, len(own), _BATCH):
            removed += self._remove(repository, [{"imageTag": tag} for tag in own[start : start + _BATCH]])
        return removed

    def _remove(self, repository: str, batch: list[ImageIdentifierTypeDef]) -> list[str]:
        doing = f"can't remove images from the repository {repository}"
        try:
            with asking(doing):
                answer = self._aws.ecr.batch_delete_image(repositoryName=repository, imageIds=batch)
        except AwsError as error:
            if error.code == "RepositoryNotFoundException":
                return []
            raise
        for failure in answer.get("failures", []):
            code = failure.get("failureCode", "")
            if code != "ImageNotFound":
                raise AwsError(f"{doing}: {failure.get('failureReason', code)}", code=code)
        return [f"image {repository}:{item['imageTag']}" for item in answer.get("imageIds", []) if "imageTag" in item]

    def _repositories(self, project: str | None) -> list[str]:
        """The repositories that are ours: of one project, or of all."""
        wanted = [naming.image_repository(self._platform, project)] if project is not None else []
        try:
            with asking("can't list the image repositories"):
                pages = self._aws.ecr.get_paginator("describe_repositories").paginate(
                    **({"repositoryNames": wanted} if wanted else {})
                )
                found = [item for page in pages for item in page["repositories"]]
        except AwsError as error:
            if error.code == "RepositoryNotFoundException":
                return []
            raise
        named = {item.get("repositoryName", ""): item.get("repositoryArn", "") for item in found}
        start = naming.image_repository(self._platform, "")
        return [name for name, arn in named.items() if name.startswith(start) and self._is_ours(name, arn)]

    def _is_ours(self, repository: str, arn: str) -> bool:
        if repository not in self._owned:
            with asking(f"can't read the tags of the image repository {repository}"):
                answer = self._aws.ecr.list_tags_for_resource(resourceArn=arn)
            if tags.read(answer["tags"]).get(labels.PLATFORM) != self._platform:
                return False
            self._owned.add(repository)
        return True

    def _tags(self, repository: str) -> list[str]:
        with asking(f"can't list the images of the repository {repository}"):
            pages = self._aws.ecr.get_paginator("list_images").paginate(
                repositoryName=repository, filter={"tagStatus": "TAGGED"}
            )
            return [item["imageTag"] for page in pages for item in page["imageIds"] if "imageTag" in item]
