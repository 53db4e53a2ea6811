"""Builds the commit's image, once; keeps what serves and what could be rolled back to; removes the rest."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

from branchline import labels, naming
from branchline.cancellation import Cancellation
from branchline.engines.docker.client import Client
from branchline.engines.docker.lease import FileLease
from branchline.engines.docker.refusals import DISK_REMEDY
from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, BuildError, ConfigurationError, EngineError
from branchline.events import Output, Publish
from branchline.ports import Push
from branchline.settings.application import Build
from branchline.settings.platform import PlatformSettings

if TYPE_CHECKING:
    from branchline.engines.docker.build_log import BuildLog

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
"""An image's name: https://docs.docker.com/reference/cli/docker/image/tag/. It holds no white space, so nothing can
follow it in a Dockerfile."""

_TAKEN_AWAY = "failed to get digest"
"""What the engine says of an image that was removed while it was about to be named."""
_NO_SESSION = "no active sessions"
"""How BuildKit ends where a registry wants a token, be it one that anybody gets: it asks the client for it, over a
session, which a build by a plain request hasn't got."""
_FETCHED = re.compile(r"(?:load metadata|resolve image config) for (?:docker-image://)?(\S+)$")
"""The steps that look for an image: one that the Dockerfile is FROM, or its `# syntax`."""

_PULL_FAILED = (
    "pull access denied",
    "no basic auth credentials",
    "unauthorized",
    "failed to do request",
    "dial tcp",
    "manifest unknown",
)

_PREAMBLE = re.compile(r"^failed to solve(?: with frontend \S+)?: (?:failed to create LLB definition: )?")
"""How BuildKit begins what it has to say."""
_EXIT_CODE = re.compile(r"(?:exit code: |returned a non-zero code: )(\d+)$")
"""How BuildKit and the classic builder end their word on a step's command."""


class DockerImages:
    """The images of one platform on one engine: one repository a project, one tag a commit."""

    def __init__(self, client: Client, settings: PlatformSettings, lease: FileLease) -> None:
        self._client = client
        self._settings = settings
        self._lease = lease

    def reference(self, project: str, commit: str) -> str:
        """The name of a commit's image."""
        return f"{naming.image_repository(self._settings.platform, project)}:{commit}"

    def build(self, push: Push, cancellation: Cancellation, publish: Publish) -> tuple[str, bool]:
        """See `ports.Images.build`."""
        reference = self.reference(push.environment.project, push.commit)
        return reference, self.make(push, reference, cancellation, publish)

    def make(self, push: Push, reference: str, cancellation: Cancellation, publish: Publish) -> bool:
        """Makes the commit's image, or the one that the push names, as `reference`; returns whether it had to.

        Raises:
            BuildError: with the failing step and its output.
        """
        if push.image:
            self._wrap(push, reference, cancellation, publish)
            return True
        source = push.source
        if source is None:
            raise ConfigurationError("there is neither a repository to build from nor an image", remedy="give --image")
        present = self._client.image(reference)
        ours = present and present.labels.get(labels.PLATFORM) == self._settings.platform
        if present and ours and labels.IMAGE not in present.labels and not push.force:
            return False
        build = push.application.build
        self._build(push, lambda: source.context(push.commit, build), build, reference, cancellation, publish)
        return True

    def projects(self) -> frozenset[str]:
        """See `ports.Images.projects`."""
        found = self._client.images({labels.PLATFORM: self._settings.platform})
        return frozenset(image.labels.get(labels.PROJECT, "") for image in found)

    def prune(self, project: str) -> list[str]:
        """See `ports.Images.prune`. No deploy can begin between the look at what is in use and the removal."""
        ours = {labels.PLATFORM: self._settings.platform, labels.PROJECT: project}
        removed: list[str] = []
        repository = naming.image_repository(self._settings.platform, project)  # others' names are theirs
        with self._lease.project(project):
            wanted = {
                record.labels.get(labels.COMMIT)
                for record in (*self._client.containers(ours), *self._client.volumes(ours))
                if record.labels.get(labels.STATE) != "failed"
            }
            for image in self._client.images(ours):
                if image.labels.get(labels.COMMIT) not in wanted:
                    ours_only = tuple(name for name in image.references if name.startswith(f"{repository}:"))
                    for reference in ours_only or (() if image.references else (image.id,)):
                        self._client.untag(reference)
                        removed.append(f"image {reference}")
        return removed

    def _wrap(self, push: Push, reference: str, cancellation: Cancellation, publish: Publish) -> None:
        """Gives an image that was built elsewhere our labels and name: a build with no step adds no layer."""
        if not _REFERENCE.fullmatch(push.image):
            raise ConfigurationError(
                f"{push.image!r} is not an image's name", remedy="give it as NAME:TAG or NAME@sha256:DIGEST"
            )
        pulled = self._client.image(push.image) is None
        if pulled:
            self._pull(push, push.image, cancellation, publish)
        try:
            self._build(push, lambda: _context_of(f"FROM {push.image}\n"), Build(), reference, cancellation, publish)
        finally:
            if pulled:  # its layers live on under our name; the name it came under would be left for ever
                self._client.untag(push.image)

    def _pull(self, push: Push, reference: str, cancellation: Cancellation, publish: Publish) -> None:
        publish(Output(push.environment, f"pulling {reference}"))
        try:
            with self._client.pull(reference) as (messages, hang_up), cancellation.interrupted_by(hang_up):
                for _ in messages:
                    pass
        except EngineError as error:
            raise BuildError(
                error.message, remedy="check the name, and 'docker login' to its registry if it is private"
            ) from error

    def _build(
        self,
        push: Push,
        open_context: Callable[[], AbstractContextManager[BinaryIO]],
        build: Build,
        reference: str,
        cancellation: Cancellation,
        publish: Publish,
    ) -> None:
        """Builds the image. What BuildKit can't fetch is pulled, and then it finds that on the engine.

        Another branch of the same commit has the same image. If its last name is removed as this build ends, the engine
        fails to give it ours, and then it is built once more.
        """
        pulled: set[str] = set()
        again = True
        while True:
            try:
                with open_context() as context:
                    missing = self._send(push, context, build, reference, cancellation, publish)
            except BuildError as error:
                if not again or _TAKEN_AWAY not in error.message:
                    raise
                again = False
                continue
            if not missing:
                return
            if missing in pulled:
                raise BuildError(
                    f"the build of {push.environment.branch} failed: BuildKit doesn't take {missing} from the engine",
                    remedy='set docker.builder = "classic" in platform.toml',
                )
            self._pull(push, missing, cancellation, publish)
            pulled.add(missing)

    def _send(
        self,
        push: Push,
        context: BinaryIO,
        build: Build,
        reference: str,
        cancellation: Cancellation,
        publish: Publish,
    ) -> str:
        """Builds the image, or returns the name of one that has to be pulled first."""
        from branchline.engines.docker.build_log import BuildLog

        log = BuildLog()
        parameters = self._parameters(push, build, reference)
        try:
            with self._client.build(context, parameters) as (lines, hang_up), cancellation.interrupted_by(hang_up):
                for line in lines:
                    for shown in log.read(line):
                        publish(Output(push.environment, shown))
        except EngineError as error:
            raise _explained(push.environment, log, error.message) from error
        fetched = _FETCHED.search(log.failing_step)
        if _NO_SESSION in log.error and fetched:
            return fetched.group(1)
        if log.error:
            raise _explained(push.environment, log, log.error)
        if self._client.image(reference) is None:
            raise BuildError("the engine ended the build without an image", remedy="run it again; see the engine's log")
        return ""

    def _parameters(self, push: Push, build: Build, reference: str) -> Mapping[str, str]:
        ours = {
            labels.PLATFORM: push.environment.platform,
            labels.PROJECT: push.environment.project,
            labels.COMMIT: push.commit,
        }
        if push.image:
            ours[labels.IMAGE] = push.image
        parameters = {
            "t": reference,
            "dockerfile": build.dockerfile,
            "target": build.target,
            "buildargs": json.dumps(build.args),
            "labels": json.dumps(ours),
            "rm": "1",
            "forcerm": "1",
        }
        if self._buildkit():
            parameters["version"] = "2"
        return {key: value for key, value in parameters.items() if value}

    def _buildkit(self) -> bool:
        choice = self._settings.docker.builder
        return choice == "buildkit" or (choice == "auto" and self._client.builds_with_buildkit)


def _context_of(dockerfile: str) -> BinaryIO:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(dockerfile.encode())
        tar.addfile(member, io.BytesIO(dockerfile.encode()))
    archive.seek(0)
    return archive


def _explained(environment: EnvironmentId, log: BuildLog, text: str) -> BranchlineError:
    """The failure with the step at fault, what it printed, and what to do where that is known."""
    step = f" at {log.failing_step}" if log.failing_step else ""
    by_hand = "build it by hand with 'docker build' to see more"
    remedy = f"mend the step, or {by_hand}" if log.failing_step else by_hand
    text = _PREAMBLE.sub("", text)
    lowered = text.lower()
    ended = _EXIT_CODE.search(text)
    if ended:
        text = f"exit code {ended.group(1)}"
    elif "no space left on device" in lowered:
        text, remedy = "the engine's disk is full", DISK_REMEDY
    elif _NO_SESSION in lowered:
        remedy = "builds get no secrets and no ssh yet; build the image elsewhere, and deploy it with --image"
    elif any(sign in lowered for sign in _PULL_FAILED) and log.failing_step.startswith("resolve image config"):
        remedy = (
            "the image of the Dockerfile's '# syntax' line can't be pulled: take the line out, if the engine's own "
            "syntax will do, or check the network"
        )
    elif any(sign in lowered for sign in _PULL_FAILED):
        remedy = "the base image can't be pulled: check its name, the network, and 'docker login' for a private one"
    elif any(sign in lowered for sign in ("dockerfile parse error", "unknown instruction", "cannot be empty")):
        remedy = "mend the Dockerfile"
    elif "target stage" in lowered or "failed to reach build target" in lowered:
        remedy = "build.target in branchline.toml names a stage that the Dockerfile doesn't have"
    return BuildError(
        f"the build of {environment.branch} failed{step}: {text}", remedy=remedy, details=log.failing_output
    )
