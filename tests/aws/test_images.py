"""The images of a platform in ECR: MiniStack's takes real pushes; moto's knows images of several tags, as AWS does.

What neither of them does is left unproven here: ECR's own refusals of a push, its scans, and its lifecycle policies.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import docker
import pytest

from branchline import labels, naming
from branchline.cancellation import Cancellation
from branchline.engines.docker.builder import DockerBuilder
from branchline.engines.ecs import names, tags
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.images import EcsImages
from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, BuildError, ConfigurationError
from branchline.ports import Push
from branchline.settings.application import Application
from tests.aws.conftest import MiniStack, remove_images
from tests.aws.pushes import Heard, make_builder, make_push, names_here, settings_of
from tests.repositories import Repo

COMMIT, OLDER = "a" * 40, "b" * 40


@pytest.fixture
def platform(ministack: MiniStack, engine: docker.DockerClient, ecs_platform: str) -> Iterator[str]:
    """A platform that has no image on the engine at the test's end."""
    yield ecs_platform
    remove_images(engine, ministack, repository_of(ecs_platform))
    assert names_here(engine, ecs_platform) == []


@pytest.fixture
def repo(tiny_base: str, repository: Callable[..., Repo]) -> Repo:
    return repository({"Dockerfile": f"FROM {tiny_base}\nCOPY i /\nEXPOSE 8000\n", "i": "1"})


@pytest.fixture
def images(aws: Aws, ministack: MiniStack, platform: str) -> EcsImages:
    return EcsImages(aws, settings_of(platform, ministack.registry), lambda: make_builder(platform))


def repository_of(platform: str) -> str:
    return naming.image_repository(platform, "shop")


def without_an_engine() -> DockerBuilder:
    pytest.fail("there was nothing to build")


def build(images: EcsImages, push: Push) -> tuple[str, bool]:
    return images.build(push, Cancellation(), Heard())


def tags_of(aws: Aws, platform: str) -> set[str]:
    found = aws.ecr.list_images(repositoryName=repository_of(platform))["imageIds"]
    return {item.get("imageTag", "") for item in found}


def put(aws: Aws, platform: str, *tagged: str) -> None:
    """One image in the project's repository, with these tags."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": f"sha256:{'0' * 64}", "size": len(tagged[0])},
        "layers": [],
        "annotations": {"made.for": tagged[0]},
    }
    for tag in tagged:
        aws.ecr.put_image(repositoryName=repository_of(platform), imageManifest=json.dumps(manifest), imageTag=tag)


def make_repository(aws: Aws, platform: str, project: str = "shop", owner: str | None = None) -> None:
    owned_by = tags.encode({labels.PLATFORM: owner or platform})
    aws.ecr.create_repository(
        repositoryName=naming.image_repository(platform, project),
        tags=[{"Key": key, "Value": value} for key, value in owned_by.items()],
    )


def test_the_first_use_makes_the_repository_as_we_want_it_and_pushes_the_image(
    images: EcsImages, aws: Aws, ministack: MiniStack, platform: str, repo: Repo, engine: docker.DockerClient
) -> None:
    push = make_push(platform, repo)

    reference, built = build(images, push)

    assert built
    assert reference == f"{ministack.registry}/branchline.{platform}/shop:main.{repo.head}"
    assert dict(aws.calls) == {
        "ecr:DescribeImages": 1,
        "ecr:CreateRepository": 1,
        "ecr:GetAuthorizationToken": 1,
        "ecr:PutLifecyclePolicy": 1,
    }
    (made,) = aws.ecr.describe_repositories(repositoryNames=[repository_of(platform)])["repositories"]
    assert made.get("imageTagMutability") == "IMMUTABLE"
    assert made.get("imageScanningConfiguration") == {"scanOnPush": True}
    ours = tags.read(aws.ecr.list_tags_for_resource(resourceArn=made.get("repositoryArn", ""))["tags"])
    assert ours == {labels.PLATFORM: platform, labels.PROJECT: "shop"}
    policy = json.loads(aws.ecr.get_lifecycle_policy(repositoryName=repository_of(platform))["lifecyclePolicyText"])
    assert [rule["selection"]["tagStatus"] for rule in policy["rules"]] == ["untagged"]
    assert tags_of(aws, platform) == {f"main.{repo.head}"}
    assert names_here(engine, platform) == []
    assert images.uploaded(push.environment) == [f"main.{repo.head}"]
    pulled = engine.images.pull(reference)
    assert pulled.attrs["Config"]["ExposedPorts"] == {"8000/tcp": {}}


def test_an_image_that_is_there_costs_one_call_and_no_docker_engine(
    images: EcsImages, ministack: MiniStack, aws: Aws, platform: str, repo: Repo
) -> None:
    push = make_push(platform, repo)
    reference, _ = build(images, push)
    later = EcsImages(aws, settings_of(platform, ministack.registry), without_an_engine)
    aws.calls.clear()

    assert build(later, push) == (reference, False)
    assert dict(aws.calls) == {"ecr:DescribeImages": 1}
    assert later.uploaded(push.environment) == []


def test_the_next_commit_costs_three_calls_and_in_the_same_process_two(
    images: EcsImages, ministack: MiniStack, aws: Aws, platform: str, repo: Repo
) -> None:
    build(images, make_push(platform, repo))
    repo.commit("Next", {"i": "2"})
    later = EcsImages(aws, settings_of(platform, ministack.registry), lambda: make_builder(platform))
    aws.calls.clear()

    build(later, make_push(platform, repo))
    assert dict(aws.calls) == {"ecr:DescribeImages": 1, "ecr:GetAuthorizationToken": 1, "ecr:ListTagsForResource": 1}

    repo.commit("One more", {"i": "3"})
    aws.calls.clear()
    build(later, make_push(platform, repo))
    assert dict(aws.calls) == {"ecr:DescribeImages": 1, "ecr:GetAuthorizationToken": 1}


def test_force_builds_again_under_a_name_of_the_images_own(images: EcsImages, platform: str, repo: Repo) -> None:
    plain, _ = build(images, make_push(platform, repo))

    forced, built = build(images, make_push(platform, repo, force=True))
    again, _ = build(images, make_push(platform, repo, force=True))

    assert built
    digits = forced.removeprefix(f"{plain}.")
    assert len(digits) == 12
    assert int(digits, 16)
    assert again == forced, "BuildKit makes the same image of the same commit, which is there already"


def test_an_image_that_was_built_elsewhere_is_pushed_in_place_of_a_build(
    images: EcsImages, platform: str, repo: Repo, tiny_base: str, aws: Aws, engine: docker.DockerClient
) -> None:
    push = make_push(platform, repo, image=tiny_base)

    reference, built = build(images, push)

    assert built
    assert reference.rpartition(".")[0].endswith(f":main.{repo.head}")
    image = images.image(push, reference, Cancellation(), Heard())
    assert image.ports == (), "the commit's Dockerfile exposes one"
    assert image.id.startswith(f"sha256:{reference.rpartition('.')[2]}")
    assert tags_of(aws, platform) == {reference.rpartition(":")[2]}
    assert engine.api.images(name=tiny_base), "the image is somebody's, and stays"


def test_what_an_image_says_about_itself_is_known_from_the_build_and_otherwise_pulled(
    images: EcsImages, ministack: MiniStack, aws: Aws, platform: str, repo: Repo, engine: docker.DockerClient
) -> None:
    push = make_push(platform, repo)
    reference, _ = build(images, push)
    aws.calls.clear()

    known = images.image(push, reference, Cancellation(), Heard())
    assert known.ports == ("8000/tcp",)
    assert aws.calls.total() == 0

    heard, later = Heard(), EcsImages(aws, settings_of(platform, ministack.registry), lambda: make_builder(platform))
    assert later.image(push, reference, Cancellation(), heard) == known
    assert later.image(push, reference, Cancellation(), heard) == known
    assert [line for line in heard.lines if line.startswith("pulling")] == [f"pulling {reference}"]
    assert dict(aws.calls) == {"ecr:GetAuthorizationToken": 1}
    assert names_here(engine, platform) == []


def test_a_repository_that_is_not_the_platforms_is_left_alone_and_the_build_is_not_waited_for(
    images: EcsImages, aws: Aws, platform: str, repo: Repo
) -> None:
    make_repository(aws, platform, owner="somebody-else")
    repo.commit("A slow build", {"Dockerfile": (repo.path / "Dockerfile").read_text() + "RUN sleep 30\n"})
    begun = time.monotonic()

    with pytest.raises(ConfigurationError, match=f"is not of the platform {platform}") as raised:
        build(images, make_push(platform, repo))

    assert time.monotonic() - begun < 10
    assert labels.PLATFORM in raised.value.message
    assert tags_of(aws, platform) == set()
    assert images.projects() == frozenset()
    assert images.owners("shop") == {}
    put(aws, platform, f"main.{COMMIT}")
    assert images.remove(EnvironmentId(platform, "shop", "main")) == []
    assert tags_of(aws, platform) == {f"main.{COMMIT}"}


def test_a_build_that_fails_and_a_registry_that_is_not_there_leave_nothing_here(
    images: EcsImages, aws: Aws, platform: str, repo: Repo, engine: docker.DockerClient
) -> None:
    elsewhere = EcsImages(aws, settings_of(platform, "registry.invalid"), lambda: make_builder(platform))
    with pytest.raises(BuildError, match=r"can't push registry\.invalid/"):
        build(elsewhere, make_push(platform, repo))
    assert names_here(engine, platform) == []

    repo.commit("A mistake", {"Dockerfile": (repo.path / "Dockerfile").read_text() + "RUN false\n"})
    with pytest.raises(BuildError, match="exit code 1"):
        build(images, make_push(platform, repo))
    assert tags_of(aws, platform) == set()


def test_two_environments_that_use_a_project_first_at_the_same_time_both_get_their_image(
    ministack: MiniStack, aws: Aws, platform: str, repo: Repo
) -> None:
    both, results = threading.Barrier(2), list[tuple[str, bool]]()

    def deploy(branch: str) -> None:
        images = EcsImages(aws, settings_of(platform, ministack.registry), lambda: make_builder(platform))
        push = make_push(platform, repo, branch)
        both.wait()
        results.append(build(images, push))

    threads = [threading.Thread(target=deploy, args=(branch,)) for branch in ("main", "feature")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [built for _, built in results] == [True, True]
    for slug in ("main", "feature"):
        found = aws.ecr.describe_images(
            repositoryName=repository_of(platform), imageIds=[{"imageTag": f"{slug}.{repo.head}"}]
        )
        assert len(found["imageDetails"]) == 1


def test_the_registrys_address_is_ecrs_own_where_none_is_set(
    moto_aws: Aws, ecs_platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Push(EnvironmentId(ecs_platform, "shop", "main"), COMMIT, Application())
    for region in ("eu-central-1", "cn-north-1"):
        monkeypatch.setenv("AWS_REGION", region)
        aws = Aws(settings_of(ecs_platform).ecs)
        make_repository(aws, ecs_platform)
        put(aws, ecs_platform, f"main.{COMMIT}")

        reference, built = build(EcsImages(aws, settings_of(ecs_platform), without_an_engine), push)

        (made,) = aws.ecr.describe_repositories()["repositories"]
        # moto has one domain for all partitions; AWS has another in China.
        domain = "amazonaws.com.cn" if region == "cn-north-1" else "amazonaws.com"
        assert (
            reference
            == f"{made.get('registryId')}.dkr.ecr.{region}.{domain}/branchline.{ecs_platform}/shop:main.{COMMIT}"
        )
        assert not built


def test_an_address_of_the_registry_that_is_no_address_is_refused_at_once(aws: Aws, ecs_platform: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ecs\.registry"):
        EcsImages(aws, settings_of(ecs_platform, "https://registry.example.com"), without_an_engine)


def test_only_the_environments_own_tags_are_removed(moto_aws: Aws, ecs_platform: str) -> None:
    make_repository(moto_aws, ecs_platform)
    main, feature = EnvironmentId(ecs_platform, "shop", "main"), EnvironmentId(ecs_platform, "shop", "main-2")
    mine, theirs = names.image_tag(main, COMMIT), names.image_tag(feature, COMMIT)
    put(moto_aws, ecs_platform, mine, theirs)
    put(moto_aws, ecs_platform, f"{mine}.0123456789ab")
    put(moto_aws, ecs_platform, "by-hand")
    images = EcsImages(moto_aws, settings_of(ecs_platform), without_an_engine)
    moto_aws.calls.clear()

    removed = images.remove_tags(main, [f"registry.example.com/x:{mine}", theirs, "by-hand", f"main.{OLDER}"])

    assert removed == [f"image {repository_of(ecs_platform)}:{mine}"]
    assert dict(moto_aws.calls) == {"ecr:BatchDeleteImage": 1}
    assert tags_of(moto_aws, ecs_platform) == {theirs, f"{mine}.0123456789ab", "by-hand"}
    assert images.remove_tags(main, []) == []
    assert images.remove_tags(main, [theirs]) == []
    assert dict(moto_aws.calls) == {"ecr:BatchDeleteImage": 1, "ecr:ListImages": 1}
    assert images.remove_tags(EnvironmentId(ecs_platform, "blog", "main"), [mine]) == [], "no repository at all"


def test_what_is_to_be_kept_may_be_named_by_commit_tag_or_reference(moto_aws: Aws, ecs_platform: str) -> None:
    make_repository(moto_aws, ecs_platform)
    main = EnvironmentId(ecs_platform, "shop", "main")
    commits = [f"{number:040x}" for number in range(130)]
    for commit in commits:
        put(moto_aws, ecs_platform, names.image_tag(main, commit))
    forced = names.image_tag(main, commits[0], "0123456789ab")
    put(moto_aws, ecs_platform, forced)
    images = EcsImages(moto_aws, settings_of(ecs_platform), without_an_engine)
    first, second, third = (names.image_tag(main, commit) for commit in commits[:3])
    moto_aws.calls.clear()

    removed = images.remove(main, keep=[commits[0], second, f"registry.example.com/x:{third}"])

    assert len(removed) == 127
    assert moto_aws.calls["ecr:BatchDeleteImage"] == 2
    assert tags_of(moto_aws, ecs_platform) == {first, forced, second, third}
    assert len(images.remove(main)) == 4
    assert images.remove(main) == []
    assert images.remove(EnvironmentId(ecs_platform, "blog", "main")) == []


def test_owners_and_projects_are_those_of_the_platform(moto_aws: Aws, ecs_platform: str) -> None:
    other = f"{ecs_platform}0"
    for project in ("shop", "blog"):
        make_repository(moto_aws, ecs_platform, project)
    make_repository(moto_aws, other)
    make_repository(moto_aws, ecs_platform, "foreign", owner="somebody-else")
    put(moto_aws, ecs_platform, f"main.{COMMIT}")
    put(moto_aws, ecs_platform, f"fix-1a2b3c4.{OLDER}.0123456789ab")
    put(moto_aws, ecs_platform, "by-hand")
    images = EcsImages(moto_aws, settings_of(ecs_platform), without_an_engine)

    assert images.projects() == {"shop", "blog"}
    assert images.owners() == {"shop": {"main", "fix-1a2b3c4"}, "blog": frozenset()}
    assert images.owners("shop") == {"shop": {"main", "fix-1a2b3c4"}}
    assert images.owners("nothing") == {}
    assert images.prune("shop") == []


def test_a_token_that_is_not_to_be_had_ends_the_build_with_the_reason(
    images: EcsImages, aws: Aws, platform: str, repo: Repo
) -> None:
    def forget(**_: object) -> None:
        raise ConfigurationError("nobody is logged in")

    make_repository(aws, platform)
    aws.ecr.meta.events.register("before-call.ecr.GetAuthorizationToken", forget)
    repo.commit("A slow build", {"Dockerfile": (repo.path / "Dockerfile").read_text() + "RUN sleep 30\n"})
    begun = time.monotonic()

    with pytest.raises(BranchlineError, match="nobody is logged in"):
        build(images, make_push(platform, repo))

    assert time.monotonic() - begun < 10
