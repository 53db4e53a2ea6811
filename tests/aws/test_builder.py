"""Images that are built here and pushed to a registry elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from branchline import naming
from branchline.cancellation import Cancellation
from branchline.engines.docker.builder import DockerBuilder
from branchline.engines.docker.connection import check_address
from branchline.engines.ecs.aws import Aws
from branchline.errors import BranchlineError, BuildError, ConfigurationError, DeletedError, EngineError
from tests import leftovers
from tests.aws.conftest import MiniStack
from tests.aws.pushes import Heard, make_builder, make_push, names_here
from tests.aws.registry import LOGIN, Answer, Registry, Slow, in_front_of
from tests.docker.proxy import build_error, in_front_of_the_engine
from tests.driver import free_port
from tests.repositories import Repo

REFUSED = Answer(403, "DENIED", f"the user may not push, and {LOGIN.password} is a secret")
TAKEN = Answer(400, "TAG_INVALID", "The image tag already exists and the repository is immutable")
BROKEN = Answer(503, "UNAVAILABLE", "come back later")


@pytest.fixture
def platform(engine: docker.DockerClient, ecs_platform: str) -> Iterator[str]:
    """A platform that has no image on the engine at the test's end."""
    yield ecs_platform
    assert names_here(engine, ecs_platform) == []


@pytest.fixture
def registry(ministack: MiniStack, aws: Aws, platform: str) -> Iterator[Registry]:
    """A registry that wants a login, with the repository of the platform's project `shop`."""
    aws.ecr.create_repository(repositoryName=repository_of(platform), imageTagMutability="IMMUTABLE")
    with in_front_of(ministack.port) as registry:
        yield registry


@pytest.fixture
def repo(tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    files: dict[str, str | bytes] = {"Dockerfile": f"FROM {tiny_base}\nCOPY i /\nEXPOSE 8000\nENV A=b\n", "i": "1"}
    return repository(files)


@pytest.fixture
def builder(platform: str) -> DockerBuilder:
    return make_builder(platform)


def repository_of(platform: str) -> str:
    return naming.image_repository(platform, "shop")


def reference(registry: str, platform: str, tag: str = "main.1") -> str:
    return f"{registry}/{repository_of(platform)}:{tag}"


def upload(builder: DockerBuilder, platform: str, repo: Repo, reference: str) -> Heard:
    """Builds and pushes; nothing of it may stay on this machine."""
    heard, push = Heard(), make_push(platform, repo)
    name = builder.build(push, Cancellation(), heard)
    try:
        builder.upload(push, name, reference, LOGIN, Cancellation(), heard)
    finally:
        builder.discard(name)
    return heard


def refusal(builder: DockerBuilder, platform: str, repo: Repo, reference: str) -> BranchlineError:
    with pytest.raises(BuildError) as raised:
        upload(builder, platform, repo, reference)
    assert LOGIN.password not in f"{raised.value}{raised.value.remedy}{raised.value.details}"
    return raised.value


def test_an_image_is_pushed_with_the_login_and_leaves_nothing_on_this_machine(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo, aws: Aws, engine: docker.DockerClient
) -> None:
    heard = upload(builder, platform, repo, reference(registry.address, platform))

    (found,) = aws.ecr.describe_images(repositoryName=repository_of(platform))["imageDetails"]
    assert found.get("imageTags") == ["main.1"]
    assert any(request.startswith("PUT") for request in registry.requests)
    assert f"pushing {reference(registry.address, platform)}" in heard.lines
    assert LOGIN.password not in repr(heard.events)
    assert LOGIN.password not in repr(LOGIN)
    assert names_here(engine, platform) == []


def test_a_large_image_is_told_of_in_a_few_lines(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo
) -> None:
    repo.commit("A large file", {"i": os.urandom(20_000_000)})

    heard = upload(builder, platform, repo, reference(registry.address, platform))

    pushing = heard.lines.index(f"pushing {reference(registry.address, platform)}")
    assert 1 <= len([line for line in heard.lines[pushing:] if "Pushed" in line]) <= 2
    assert len(heard.lines) - pushing <= 8


def test_a_tag_that_has_this_very_image_already_is_no_error_though_it_may_not_change(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo
) -> None:
    upload(builder, platform, repo, reference(registry.address, platform))
    registry.fault = lambda method, path: TAKEN if method == "PUT" and "/manifests/" in path else None

    upload(builder, platform, repo, reference(registry.address, platform))


def test_a_tag_that_has_another_image_stays_as_it_is_and_the_error_says_so(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo, aws: Aws
) -> None:
    upload(builder, platform, repo, reference(registry.address, platform))
    before = aws.ecr.describe_images(repositoryName=repository_of(platform))["imageDetails"]
    repo.commit("Another content", {"i": "2"})

    error = refusal(builder, platform, repo, reference(registry.address, platform))

    assert "immutable" in error.message
    assert "--force" in error.remedy
    assert aws.ecr.describe_images(repositoryName=repository_of(platform))["imageDetails"] == before


def test_a_registry_that_refuses_is_told_without_the_secret_that_it_prints(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo
) -> None:
    registry.fault = lambda method, _: REFUSED if method == "POST" else None

    error = refusal(builder, platform, repo, reference(registry.address, platform))

    assert "the user may not push, and [secret] is a secret" in error.message
    assert "have the right to push" in error.remedy


def test_a_repository_that_is_gone_is_told_apart(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo, aws: Aws
) -> None:
    aws.ecr.delete_repository(repositoryName=repository_of(platform))

    assert "the repository is gone" in refusal(builder, platform, repo, reference(registry.address, platform)).remedy


def test_an_address_where_no_registry_is_is_told_apart(builder: DockerBuilder, platform: str, repo: Repo) -> None:
    nobody = refusal(builder, platform, repo, reference(f"127.0.0.1:{free_port()}", platform))
    assert "connection refused" in nobody.message
    assert "check the network" in nobody.remedy

    unknown = refusal(builder, platform, repo, reference("registry.invalid", platform))
    assert "check the registry's address" in unknown.remedy or "check the network" in unknown.remedy


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "Get https://r/v2/: x509: certificate signed by unknown authority",
            "doesn't trust the registry's certificate",
        ),
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system df"),
        ("read tcp 10.0.0.2:4->10.0.0.3:443: read: connection reset by peer", "check the network"),
        ("denied: Your authorization token has expired. Reauthenticate and try again.", "these credentials"),
        ("something that nobody foresaw", "see the engine's log"),
    ],
)
def test_what_the_engine_says_of_a_failed_push_comes_with_what_to_do(
    platform: str, repo: Repo, tmp_path: Path, said: str, remedy: str
) -> None:
    with in_front_of_the_engine(tmp_path / "engine.sock") as proxy:
        proxy.let(lambda call: build_error(said) if call.path.partition("?")[0].endswith("/push") else None)
        builder = make_builder(platform, proxy.environment["DOCKER_HOST"])
        # A branch may be named like a symptom.
        error = refusal(builder, platform, repo, reference("registry.example.com", platform, "denied-timeout.1"))

    assert said in error.message
    assert remedy in error.remedy


def test_a_registry_that_is_down_for_a_moment_is_asked_again(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo
) -> None:
    answers = [BROKEN]
    registry.fault = lambda method, _: answers.pop() if method == "POST" and answers else None

    heard = upload(builder, platform, repo, reference(registry.address, platform))

    assert len([line for line in heard.lines if "Retrying" in line]) == 1


def test_a_cancelled_push_ends_at_once_and_its_secret_was_in_no_command_line_and_in_no_file(
    builder: DockerBuilder,
    registry: Registry,
    platform: str,
    repo: Repo,
    engine: docker.DockerClient,
    aws: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration = tmp_path / "docker"
    configuration.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(configuration))
    repo.commit("A large file", {"i": os.urandom(20_000_000)})
    slow, cancellation, heard, push = Slow(), Cancellation(), Heard(), make_push(platform, repo)
    registry.fault = lambda method, _: slow if method == "PATCH" else None
    name = builder.build(push, Cancellation(), heard)
    cancelled: list[float] = []

    def cancel() -> None:
        assert slow.under_way.wait(30)
        assert leftovers.processes(LOGIN.password) == []
        cancelled.append(time.monotonic())
        cancellation.cancel(DeletedError("main was deleted"))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(DeletedError):
        builder.upload(push, name, reference(registry.address, platform), LOGIN, cancellation, heard)
    assert time.monotonic() - cancelled[0] < 2
    canceller.join()
    assert names_here(engine, platform) == [name]
    builder.discard(name)

    assert list(configuration.iterdir()) == []
    assert slow.hung_up.wait(10), "the engine goes on with the push"
    assert aws.ecr.describe_images(repositoryName=repository_of(platform))["imageDetails"] == []


def test_two_environments_of_one_commit_do_not_lose_their_images_to_each_other(
    builder: DockerBuilder, platform: str, repo: Repo, engine: docker.DockerClient
) -> None:
    pushes = make_push(platform, repo, "main"), make_push(platform, repo, "feature")
    main, feature = (builder.build(push, Cancellation(), Heard()) for push in pushes)

    builder.discard(main)

    assert names_here(engine, platform) == [feature]
    image = builder.image(feature)
    assert image is not None
    assert (image.ports, image.env["A"]) == (("8000/tcp",), "b")
    assert image.architecture in ("amd64", "arm64")
    builder.discard(feature)
    builder.discard(feature)
    assert builder.image(feature) is None


def test_what_a_killed_deploy_of_the_environment_left_goes_with_its_next_build(
    builder: DockerBuilder, platform: str, repo: Repo, engine: docker.DockerClient
) -> None:
    killed = builder.build(make_push(platform, repo), Cancellation(), Heard())
    engine.api.tag(killed, f"registry.example.com/{repository_of(platform)}", f"main.{repo.head}")
    other = builder.build(make_push(platform, repo, "main-2"), Cancellation(), Heard())
    repo.commit("The next one", {"i": "2"})

    name = builder.build(make_push(platform, repo), Cancellation(), Heard())

    assert sorted(names_here(engine, platform)) == sorted([name, other])
    builder.discard(name)
    builder.discard(other)


def test_an_image_is_fetched_only_to_see_what_it_says_about_itself(
    builder: DockerBuilder, registry: Registry, platform: str, repo: Repo, engine: docker.DockerClient
) -> None:
    there = reference(registry.address, platform)
    upload(builder, platform, repo, there)

    image = builder.fetch(make_push(platform, repo), there, LOGIN, Cancellation(), Heard())

    assert (image.ports, image.env["A"]) == (("8000/tcp",), "b")
    assert names_here(engine, platform) == []
    with pytest.raises(BuildError, match="can't pull"):
        builder.fetch(make_push(platform, repo), f"{there}0", LOGIN, Cancellation(), Heard())


def test_an_engine_that_only_builds_may_be_on_another_machine() -> None:
    address = f"tcp://127.0.0.2:{free_port()}"

    with pytest.raises(ConfigurationError, match="is on another machine"):
        check_address(address)
    with pytest.raises(EngineError, match="no Docker Engine answers"):
        check_address(address, anywhere=True)
