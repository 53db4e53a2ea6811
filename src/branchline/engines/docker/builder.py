"""Builds images on this machine for an engine that runs them elsewhere, and pushes them to its registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from branchline import labels, naming
from branchline.cancellation import Cancellation
from branchline.engines.docker.client import Client
from branchline.engines.docker.images import DockerImages
from branchline.engines.docker.refusals import DISK_REMEDY
from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, BuildError, EngineError
from branchline.events import Output, Publish
from branchline.image import Image
from branchline.ports import Login, Push
from branchline.printable import printable
from branchline.redaction import redact

_TELL = 5.0
"""Seconds between two words on how far a transfer is."""
_MOVING = ("Pushing", "Downloading")
_TOLD = ("Pushed", "Mounted from", "Pull complete")
"""How a layer that had to be transferred ends; "Layer already exists" is left out."""
_IMMUTABLE = ("tag invalid", "immutable")
"""How registries refuse to let a tag name another image: by the code TAG_INVALID, as the engine prints it.
https://distribution.github.io/distribution/spec/api/#errors-2"""

_REMEDIES: Mapping[tuple[str, ...], str] = {
    ("no space left on device",): DISK_REMEDY,
    ("name unknown", "repository does not exist"): "the repository is gone; run it again, which makes it anew",
    (
        "denied",
        "unauthorized",
        "no basic auth credentials",
        "forbidden",
    ): "see that these credentials have the right to push to the registry and to pull from it",
    ("no such host", "server misbehaving"): "check the registry's address, and the name server of the engine's machine",
    (
        "x509",
        "tls",
        "http response to https client",
    ): "the engine doesn't trust the registry's certificate, or it has none: let the engine's daemon.json say so",
    (
        "connection re",  # reset or refused
        "timeout",
        "deadline exceeded",
        "no route to host",
        "unreachable",
        "broken pipe",
        "eof",
        "unexpected http status: 5",
        "internal server error",
        "service unavailable",
        "bad gateway",
        "toomanyrequests",
    ): "check the network between the engine and the registry, and run it again: what has arrived isn't sent twice",
}
"""What to do, by what the engine or the registry says in lower case; the first that fits counts."""


class DockerBuilder:
    """See `ports.Builder`. An environment's images have names of their own here, so that no other's deploy, which may
    build the same commit at the same time, discards one."""

    def __init__(self, client: Client, images: DockerImages) -> None:
        self._client = client
        self._images = images

    def build(self, push: Push, cancellation: Cancellation, publish: Publish) -> str:
        """See `ports.Builder.build`. What a killed deploy of the environment left on this machine is removed."""
        environment = push.environment
        name = f"{_names(environment)}{push.commit}"
        self._discard_others(environment, name)
        self._images.make(push, name, cancellation, publish)
        return name

    def image(self, name: str) -> Image | None:
        """See `ports.Builder.image`."""
        found = self._client.image(name)
        return Image(found.id, found.ports, found.env, found.architecture) if found is not None else None

    def upload(
        self, push: Push, name: str, reference: str, login: Login, cancellation: Cancellation, publish: Publish
    ) -> None:
        """See `ports.Builder.upload`. A tag that may not change, and names this very image already, is no error."""
        image = self._client.image(name)
        if image is None:
            raise BuildError(f"the image {name} was removed while it was to be pushed", remedy="run it again")
        publish(Output(push.environment, f"pushing {reference}"))
        self._client.tag(image.id, reference)
        try:
            with self._client.push(reference, login) as (messages, hang_up), cancellation.interrupted_by(hang_up):
                _tell(push, messages, publish)
        except EngineError as error:
            taken = any(sign in _words(error, reference) for sign in _IMMUTABLE)
            if not taken or self._pulled(push, reference, login, cancellation, publish).id != image.id:
                raise _explained(error, reference, login, taken=taken) from error
        finally:
            with suppress(EngineError):  # a name that stays is no reason to fail, nor to hide why the push did
                self._client.untag(reference)

    def fetch(self, push: Push, reference: str, login: Login, cancellation: Cancellation, publish: Publish) -> Image:
        """See `ports.Builder.fetch`. The image is removed again, unless it was here before."""
        present = self.image(reference)
        if present is not None:
            return present
        try:
            return self._pulled(push, reference, login, cancellation, publish)
        finally:
            with suppress(EngineError):
                self._client.untag(reference)

    def discard(self, name: str) -> None:
        """See `ports.Builder.discard`."""
        self._client.untag(name)

    def _pulled(self, push: Push, reference: str, login: Login, cancellation: Cancellation, publish: Publish) -> Image:
        publish(Output(push.environment, f"pulling {reference}"))
        try:
            with self._client.pull(reference, login) as (messages, hang_up), cancellation.interrupted_by(hang_up):
                _tell(push, messages, publish)
        except EngineError as error:
            raise _explained(error, reference, login) from error
        image = self.image(reference)
        if image is None:
            raise BuildError(f"the image {reference} was removed while it was looked at", remedy="run it again")
        return image

    def _discard_others(self, environment: EnvironmentId, name: str) -> None:
        """The environment has one writer at a time, so that no other process builds these, or pushes them."""
        ours = {labels.PLATFORM: environment.platform, labels.PROJECT: environment.project}
        for image in self._client.images(ours):
            for reference in image.references:
                local = reference.startswith(_names(environment))
                pushed = f"/{_names(environment)}" in reference
                if (local or pushed) and reference != name:
                    self._client.untag(reference)


def _names(environment: EnvironmentId) -> str:
    """What the names of the environment's images start with, here and, after the registry's address, there."""
    return f"{naming.image_repository(environment.platform, environment.project)}:{environment.slug}."


def _tell(push: Push, messages: Iterator[Mapping[str, Any]], publish: Publish) -> None:
    """Reads the transfer to its end, and publishes what is worth knowing of it."""
    for line in _progress(messages, time.monotonic):
        publish(Output(push.environment, f"  {printable(line)}"))


def _progress(messages: Iterator[Mapping[str, Any]], clock: Callable[[], float]) -> Iterator[str]:
    """Each layer's end, each time that the engine tries again, and now and then how far it is.

    The engine itself tries each layer five times, with pauses that grow, and counts their seconds down.
    """
    bytes_of: dict[str, tuple[int, int]] = {}
    paused: set[str] = set()
    told = clock()
    for message in messages:
        layer, status = str(message.get("id") or ""), str(message.get("status") or "")
        detail: Mapping[str, int] = message.get("progressDetail") or {}
        if status.startswith("Retrying"):
            if layer not in paused:
                yield f"{layer}: {status}"
            paused.add(layer)
            continue
        paused.discard(layer)
        if status.startswith(_TOLD):
            yield f"{layer}: {status}"
        if status in _MOVING and detail.get("total"):
            bytes_of[layer] = detail.get("current", 0), detail["total"]
        if clock() - told >= _TELL and bytes_of:
            told = clock()
            done, whole = (sum(column) / 1e6 for column in zip(*bytes_of.values(), strict=True))
            yield f"{min(done, whole):.0f} of {whole:.0f} MB"


def _words(error: EngineError, reference: str) -> str:
    """What the engine or the registry said, in lower case and without names, which may be any words."""
    registry, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    text = error.message
    for name in (reference, repository, tag, registry):
        text = text.replace(name, "")
    return text.lower()


def _explained(error: EngineError, reference: str, login: Login, *, taken: bool = False) -> BranchlineError:
    """The failure with what to do about it. Where the engine itself is what failed, the error says so already."""
    if error.remedy:
        return error
    words = _words(error, reference)
    remedies = (remedy for signs, remedy in _REMEDIES.items() if any(sign in words for sign in signs))
    remedy = next(remedies, "run it again; if it stays so, see the engine's log")
    if taken:
        remedy = "the registry has another image of this name; 'deploy --force' gives the new one a name of its own"
    return BuildError(printable(redact(error.message, {login.password})), remedy=remedy)
