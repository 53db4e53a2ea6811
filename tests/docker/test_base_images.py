"""Base images that the engine doesn't have yet, from registries as they are."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tests.docker.conftest import Branchline
from tests.docker.registry import Registry, serving
from tests.repositories import Repo


def served_from(registry: Registry) -> dict[str, str]:
    """The files of an application whose image is FROM the registry's."""
    dockerfile = f'FROM {registry.image}\nCOPY i /w/index.html\nEXPOSE 80\nCMD ["httpd", "-f", "-h", "/w"]\n'
    return {"Dockerfile": dockerfile, "i": "from a registry"}


def login(directory: Path, registry: Registry, user: tuple[str, str]) -> dict[str, str]:
    """What 'docker login' leaves, in a directory of its own; returns the variables that lead to it."""
    secret = base64.b64encode(":".join(user).encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": secret}}}))
    return {"DOCKER_CONFIG": str(directory)}


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
def test_a_public_base_image_is_pulled_though_its_registry_wants_a_token(
    branchline: Branchline,
    engine: docker.DockerClient,
    tiny_base: str,
    repository: Callable[..., Repo],
    builder: str,
) -> None:
    with serving(engine, tiny_base) as registry:
        repo = repository(served_from(registry))
        url = branchline.deploy(repo, env={"BRANCHLINE_DOCKER_BUILDER": builder})["url"]
        assert branchline.get(url).text == "from a registry"
        assert any(request.startswith("GET /token") for request in registry.requests)
        branchline("destroy", "--all", cwd=repo.path)


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
def test_a_private_base_image_is_pulled_with_what_docker_login_stored(
    branchline: Branchline,
    engine: docker.DockerClient,
    tiny_base: str,
    repository: Callable[..., Repo],
    tmp_path: Path,
    builder: str,
) -> None:
    user = ("ada", "pass-phrase")
    with serving(engine, tiny_base, user) as registry:
        repo = repository(served_from(registry))
        settings = {"BRANCHLINE_DOCKER_BUILDER": builder}
        refused = branchline.try_("deploy", cwd=repo.path, env=settings | {"DOCKER_CONFIG": str(tmp_path)})
        assert refused.code == 1
        assert "docker login" in refused.err
        url = branchline.deploy(repo, env=settings | login(tmp_path, registry, user))["url"]
        assert branchline.get(url).text == "from a registry"
        branchline("destroy", "--all", cwd=repo.path)
