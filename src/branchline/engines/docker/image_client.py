"""What `client` does with images: it lists, builds, names, pulls and pushes them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import docker.auth
import docker.errors
import docker.utils
import requests

from branchline.engines.docker import records
from branchline.engines.docker.records import ImageDetails, ImageSummary
from branchline.engines.docker.refusals import errors
from branchline.errors import EngineError
from branchline.ports import Login

_ATTEMPTS = 3
_STUMBLED = "unrecognized image ID"


class ImageClient:
    """The part of a connection to an engine that is about images. `Client` makes it, and has the rest."""

    address: str
    _api: Any

    def images(self, labels: Mapping[str, str]) -> list[ImageSummary]:
        """The images that carry the labels."""
        with errors("can't list images", self.address):
            raw: list[dict[str, Any]] = self._api.images(filters={"label": records.label_filter(labels)})
        return [
            ImageSummary(
                str(item["Id"]),
                tuple(str(tag) for tag in item.get("RepoTags") or () if tag != "<none>:<none>"),
                dict(item.get("Labels") or {}),
            )
            for item in raw
        ]

    def image(self, reference: str) -> ImageDetails | None:
        """One image's configuration, or None where the engine doesn't have it."""
        with errors(f"can't inspect the image {reference}", self.address):
            try:
                raw: dict[str, Any] = self._api.inspect_image(reference)
            except docker.errors.NotFound:
                return None
        return records.read_image(raw)

    def tag(self, image: str, reference: str) -> None:
        """Gives the image one more name, which is taken from whatever image had it."""
        repository, _, tag = reference.rpartition(":")
        with errors(f"can't give the image {image} the name {reference}", self.address):
            self._api.tag(image, repository, tag)

    def untag(self, reference: str) -> None:
        """Removes an image's name, and the image with its last one. Missing or in use is no error."""
        with errors(f"can't remove the image {reference}", self.address), suppress(docker.errors.NotFound):
            for attempt in range(_ATTEMPTS):
                try:
                    self._api.remove_image(reference)
                except docker.errors.APIError as error:
                    # The engine stumbles where two names of one image are removed at the same time.
                    if _STUMBLED in str(error.explanation) and attempt + 1 < _ATTEMPTS:
                        continue
                    if error.status_code != requests.codes["conflict"]:
                        raise
                return

    @contextmanager
    def pull(
        self, reference: str, login: Login | None = None
    ) -> Generator[tuple[Iterator[dict[str, Any]], Callable[[], None]]]:
        """Pulls an image, with the credentials that `docker login` stored unless others are given.

        Gives what the engine tells of its progress, and a function that hangs up from another thread. The pull goes on
        as the messages are read:
        https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageCreate
        """
        doing = f"can't pull {reference}"
        repository, tag = docker.utils.parse_repository_tag(reference)
        parameters = {"fromImage": repository, "tag": tag or "latest"}
        headers = self._credentials(repository, login)
        with self._post(doing, "/images/create", parameters, headers) as (lines, hang_up):
            yield _messages(doing, lines), hang_up

    @contextmanager
    def push(self, reference: str, login: Login) -> Generator[tuple[Iterator[dict[str, Any]], Callable[[], None]]]:
        """Pushes the image of that name to the registry that its name begins with. As `pull`:
        https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImagePush
        """
        doing = f"can't push {reference}"
        repository, _, tag = reference.rpartition(":")
        headers = self._credentials(repository, login)
        with self._post(doing, f"/images/{repository}/push", {"tag": tag}, headers) as (lines, hang_up):
            yield _messages(doing, lines), hang_up

    @contextmanager
    def build(
        self, context: BinaryIO, parameters: Mapping[str, str]
    ) -> Generator[tuple[Iterator[bytes], Callable[[], None]]]:
        """Sends a build context; gives the answer's JSON lines, and a function that hangs up from another thread.

        The SDK's own `build` can't ask for BuildKit:
        https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageBuild
        """
        headers = {"Content-Type": "application/x-tar"}
        self._api._set_auth_headers(headers)
        chunks = iter(lambda: context.read(1 << 16), b"")
        with self._post("can't build the image", "/build", parameters, headers, chunks) as answer:
            yield answer

    def _credentials(self, repository: str, login: Login | None) -> dict[str, str]:
        """The header that tells the engine who we are at the registry; without a login, what `docker login` stored."""
        auth: Any = docker.auth  # its stubs know too little
        if login is not None:
            header: bytes | None = auth.encode_header({"username": login.user, "password": login.password})
        else:
            registry, _ = auth.resolve_repository_name(repository)
            header = auth.get_config_header(self._api, registry)
        return {"X-Registry-Auth": header.decode()} if header else {}

    @contextmanager
    def _post(
        self,
        doing: str,
        path: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        body: Iterator[bytes] | None = None,
    ) -> Generator[tuple[Iterator[bytes], Callable[[], None]]]:
        """A request whose answer goes on for as long as the work does. By hand, as the SDK's own can't be hung up."""
        api = self._api
        with errors(doing, self.address):
            response: Any = api.post(
                f"{api.base_url}/v{api.api_version}{path}",
                params=dict(parameters),
                data=body,
                headers=dict(headers),
                stream=True,
                timeout=None,  # the work may be silent for long; the deploy's own time-out is what counts
            )
            with response:
                if response.status_code != requests.codes["ok"]:
                    raise EngineError(f"{doing}: {_message(response)}")
                yield response.iter_lines(), lambda: _hang_up(response)


def _messages(doing: str, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The answer's JSON lines; the one that tells of a failure ends them with an EngineError."""
    for line in lines:
        message: dict[str, Any] = json.loads(line)
        if message.get("error"):
            raise EngineError(f"{doing}: {message['error']}")
        yield message


def _message(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError):
        return f"the engine answered {response.status_code}"


def _hang_up(response: Any) -> None:
    """Ends a streamed answer whose reader may be blocked in another thread; closing alone would wait for the reader."""
    with suppress(OSError, AttributeError):
        response.raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)
