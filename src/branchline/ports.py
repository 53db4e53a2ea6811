"""What the stories in `lifecycle` need from the outside, as Protocols. Each says what repeating a call does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

from branchline.cancellation import Cancellation
from branchline.environment import Environment, EnvironmentId, Release
from branchline.events import Publish
from branchline.image import Image

if TYPE_CHECKING:  # settings need more than the standard library, and the Lambda has no more
    from branchline.settings.application import Application, Build


class Source(Protocol):
    """A git repository that branches come from."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    def tip(self, branch: str) -> str | None:
        """The commit that the branch is at now, or None where it doesn't exist.

        Raises:
            SourceError: the repository can't be read. Never read as "no such branch".
        """
        ...

    def has(self, commit: str) -> bool:
        """Whether the commit is here. A shallow clone lacks many, and a force-push leaves some behind."""
        ...

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`. False where one of them is not known here."""
        ...

    def context(self, commit: str, build: Build) -> AbstractContextManager[BinaryIO]:
        """The commit's tree as a tar stream to build from, filtered by its ignore file."""
        ...

    def branches(self) -> frozenset[str]:
        """Every branch that exists in the remote now, or in the repository itself where it has no remote.

        Raises:
            SourceError: it can't be read. Never read as "no branches".
        """
        ...


@dataclass(frozen=True, slots=True)
class Push:
    """A change: the branch is at this commit, deploy it."""

    environment: EnvironmentId
    commit: str
    application: Application
    source: Source | None = None
    """Where to build from, and to ask whether the branch still exists. None where only an image is known."""
    branch_known: bool = False
    """Whether the source had the branch when the change came, so that its absence later means it was deleted."""
    image: str = ""
    """An image that was built elsewhere, to use in place of a build."""
    env: dict[str, str] = field(default_factory=dict[str, str])
    """The application's environment variables, env files included. May hold secrets."""
    secrets: frozenset[str] = frozenset()
    """Values that are never shown or stored in a label."""
    force: bool = False
    """Deploy even where a newer commit serves, or nothing changed."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """A change: the branch is gone, remove its environment."""

    environment: EnvironmentId


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Not a change of the branch, but work on its environment that needs its turn: rollback, sleep, wake."""

    environment: EnvironmentId


Change = Push | Deletion | Adjustment


class ImageStore(Protocol):
    """Where images are kept."""

    def projects(self) -> frozenset[str]:
        """The projects that have images here, with or without environments."""
        ...

    def prune(self, project: str) -> list[str]:
        """Removes the project's images that no environment serves or could roll back to; returns their names."""
        ...


class Images(ImageStore, Protocol):
    """Where images are built and kept."""

    def build(self, push: Push, cancellation: Cancellation, publish: Publish) -> tuple[str, bool]:
        """Makes the commit's image; returns its name, and whether it had to be built.

        Building the same commit again finds the image that is there.

        Raises:
            BuildError: with the failing step and its output.
        """
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """What a registry wants to see of us. It goes into requests, never onto a command line."""

    user: str
    password: str = field(repr=False)


class Builder(Protocol):
    """Builds images on this machine for an engine that runs them elsewhere."""

    def build(self, push: Push, cancellation: Cancellation, publish: Publish) -> str:
        """Makes the commit's image, or the one that the push names, on this machine; returns its name here.

        Raises:
            BuildError: with the failing step and its output.
        """
        ...

    def image(self, name: str) -> Image | None:
        """What the image says about itself, or None where it isn't on this machine."""
        ...

    def upload(
        self, push: Push, name: str, reference: str, login: Login, cancellation: Cancellation, publish: Publish
    ) -> None:
        """Pushes the image called `name` here to the registry, as `reference`. Repeatable.

        Raises:
            BuildError: the registry refused, or can't be reached.
        """
        ...

    def fetch(self, push: Push, reference: str, login: Login, cancellation: Cancellation, publish: Publish) -> Image:
        """Pulls an image from the registry, to see what it says about itself.

        Raises:
            BuildError: the registry refused, or can't be reached.
        """
        ...

    def discard(self, name: str) -> None:
        """Removes a name of an image from this machine, and the image with its last one. Missing is no error."""
        ...


class Estate(Protocol):
    """What there is on a platform, and its removal."""

    def environments(self, project: str | None = None) -> list[Environment]:
        """Every environment of the platform, or of one of its projects, in a number of calls that doesn't grow."""
        ...

    def find(self, environment: EnvironmentId) -> Environment | None:
        """One environment, or None where there is no trace of it."""
        ...

    def destroy(self, environment: EnvironmentId) -> list[str]:
        """Removes everything the environment has, and returns what that was. What is missing is no error."""
        ...

    def leftovers(self) -> dict[EnvironmentId, list[str]]:
        """What killed deploys and destroys left behind: our resources that no environment uses and nobody is making."""
        ...

    def sweep(self, environment: EnvironmentId) -> list[str]:
        """Removes an environment's leftovers; returns what they were. Called within a turn at the environment."""
        ...


class Engine(Estate, Protocol):
    """Runs releases, and is the database of what runs. Routing is its own affair."""

    def begin(self, push: Push) -> Release:
        """Makes the coming release visible to others, clearing what a killed deploy left behind. Repeatable."""
        ...

    def serving(self, push: Push, image: str) -> Environment | None:
        """The environment, where it serves this very image with this very configuration already."""
        ...

    def run(self, push: Push, coming: Release, cancellation: Cancellation, publish: Publish) -> Environment:
        """Starts the release, waits until it is healthy and points the host at it.

        Until it returns, the previous release goes on serving.

        Raises:
            ReleaseError: it never became healthy; says why, with the last lines it printed.
            ConfigurationError: it can't be run as the settings and the image say, for example without a port.
        """
        ...

    def retire(self, environment: EnvironmentId, cancellation: Cancellation) -> None:
        """Stops the releases that no longer serve, once the requests in flight at them are done. Repeatable."""
        ...

    def abandon(self, coming: Release) -> None:
        """Removes all that a release which doesn't serve has, so that it leaves no trace. Repeatable."""
        ...

    def fail(self, push: Push, coming: Release, reason: str) -> None:
        """Like `abandon`, but keeps the reason on record until a later release succeeds."""
        ...

    def sleep(self, environment: EnvironmentId) -> None:
        """Stops the serving release's container and keeps the rest. Repeatable."""
        ...

    def wake(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> None:
        """Starts a sleeping release again and waits until it is healthy. Repeatable."""
        ...

    def rollback(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> Environment:
        """Starts the previous release again and, once it is healthy, points the host back at it.

        Raises:
            NotFoundError: there is no previous release.
            ReleaseError: it didn't become healthy; the present one goes on serving.
        """
        ...

    def logs(self, environment: EnvironmentId, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        """What the serving release printed; with `follow`, goes on with its successors."""
        ...

    def execute(self, environment: EnvironmentId, command: Sequence[str], *, terminal: bool) -> int:
        """Runs a command in the serving release, on this process's standard streams; returns its exit code.

        ECS doesn't tell a command's exit code: there, it is the session's.
        """
        ...


class Lease(Protocol):
    """One writer per environment; a newer change supersedes, a deletion cancels."""

    def turn(self, change: Change, cancellation: Cancellation, publish: Publish) -> AbstractContextManager[None]:
        """Waits for the environment to be free, and cancels `cancellation` when a later change wants it.

        Raises:
            SupersededError: a newer commit has its turn or waits for it.
            DeletedError: a deletion that came later waits for its turn.
        """
        ...

    def slot(
        self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish
    ) -> AbstractContextManager[None]:
        """Waits until fewer deploys than the platform's limit are building or starting."""
        ...


@dataclass(frozen=True, slots=True)
class Platform:
    """Where environments run, as the operator configured it. `branchline.platform` puts it together."""

    name: str
    engine: Engine
    images: Images
    lease: Lease


@dataclass(frozen=True, slots=True)
class Holdings:
    """A platform as those have it who only look and remove, such as the Lambda."""

    name: str
    engine: Estate
    images: ImageStore
    lease: Lease
