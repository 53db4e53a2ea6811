"""A registry of one image, as Docker Hub and private ones answer: nothing without a token or a password.

https://distribution.github.io/distribution/spec/api/ and https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    """Where it is, and what was asked of it."""

    address: str
    """Host and port. Engines speak plain HTTP with registries on loopback."""
    requests: list[str] = field(default_factory=list)

    @property
    def image(self) -> str:
        """The image's name."""
        return f"{self.address}/base:1"


@contextmanager
def serving(engine: docker.DockerClient, image: str, user: tuple[str, str] | None = None) -> Iterator[Registry]:
    """Serves a copy of the image: to `user` (name and password), or to whoever fetches a token first.

    The engine's copy of it under the registry's name is removed at the end.
    """
    manifest, blobs = _contents(engine, image)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.requests.append(f"{self.command} {self.path}")
            if self.path.startswith("/token"):
                self.answer(200, b'{"token": "anybody"}', "application/json")
            elif self.headers.get("Authorization") != wanted:
                self.answer(401, b"{}", "application/json", {"WWW-Authenticate": challenge})
            elif self.path == "/v2/":
                self.answer(200, b"{}", "application/json")
            elif "/manifests/" in self.path:
                self.answer(200, manifest, _MANIFEST, {"Docker-Content-Digest": _digest(manifest)})
            elif blob := blobs.get(self.path.rpartition("/")[2]):
                self.answer(200, blob, "application/octet-stream")
            else:
                self.answer(404, b"{}", "application/json")

        def do_HEAD(self) -> None:
            self.do_GET()

        def answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry = Registry(f"127.0.0.1:{server.server_port}")
        if user:
            wanted = f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"
            challenge = 'Basic realm="test"'
        else:
            wanted = "Bearer anybody"
            challenge = f'Bearer realm="http://{registry.address}/token",service="test",scope="repository:base:pull"'
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
            if engine.api.images(name=registry.image):
                engine.images.remove(registry.image, force=True)


def _contents(engine: docker.DockerClient, image: str) -> tuple[bytes, dict[str, bytes]]:
    """The image's manifest, and its configuration and layers by their digests."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(engine.images.get(image).save()))) as saved:

        def content(name: str) -> bytes:
            file = saved.extractfile(name)
            assert file is not None, name
            return file.read()

        (listed,) = json.loads(content("manifest.json"))
        configuration = content(listed["Config"])
        layers = [gzip.compress(content(name), compresslevel=1) for name in listed["Layers"]]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _part("application/vnd.docker.container.image.v1+json", configuration),
        "layers": [_part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer) for layer in layers],
    }
    return json.dumps(manifest).encode(), {_digest(part): part for part in (configuration, *layers)}


def _part(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
