"""The engine fails in the middle of a deploy: one clear error, nothing half-made, and the next deploy puts it right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import docker
import pytest

from tests import leftovers
from tests.docker import proxy
from tests.docker.conftest import Branchline, Result
from tests.docker.proxy import Call, Proxy
from tests.docker.test_killed import done, shape, site
from tests.repositories import Repo

LONGEST = 60
"""More calls than any deploy makes; a test that reaches it would never end."""
FAULTS = {"refused": proxy.refused("the engine stumbled"), "lost": proxy.LOST}
STEPS = {"refused": 4, "lost": 2}
"""Every so many calls one is hit: of a first deploy from the first call on, and of a redeploy from the last of these.
Both make much the same calls, and a run of the tests has to end in time."""


@pytest.fixture
def faulty(branchline: Branchline) -> Iterator[Proxy]:
    """The engine, behind a proxy that can let calls fail."""
    with proxy.in_front_of_the_engine(branchline.state / "engine.sock") as made:
        yield made


def errors(result: Result) -> list[str]:
    return [line for line in result.err.splitlines() if line.startswith("error: ")]


def resources(engine: docker.DockerClient, branchline: Branchline) -> list[str]:
    return [str(item) for item in leftovers.resources(engine, branchline.platform)]


@dataclass
class NthCall:
    """Lets one call of a deploy fail: any of them is refused, or the answer to one that changes something gets lost.

    A lost answer to a question is no other case than one that is refused.
    """

    fault: str
    number: int
    passed: int = 0
    failed: Call | None = None

    def __call__(self, call: Call) -> bytes | None:
        if self.fault == "lost" and call.method == "GET":
            return None
        self.passed += 1
        if self.passed != self.number:
            return None
        self.failed = call
        return FAULTS[self.fault]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_of_a_first_deploy_may_fail(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    faulty: Proxy,
    fault: str,
) -> None:
    repo = repository(site(tiny_base, "one"))
    url = branchline.deploy(repo)["url"]
    expected = shape(engine, branchline.platform)
    for number in range(1, LONGEST, STEPS[fault]):
        done(branchline, repo.path, "destroy", "main")
        nth = NthCall(fault, number)
        faulty.let(nth)
        result = branchline.try_("deploy", cwd=repo.path, env=faulty.environment)
        if nth.failed is None:
            assert result.code == 0
            break
        where = f"{fault}: {nth.failed}:\n{result.err}"
        if result.code == 0:  # it failed after the release served, or was got over
            assert branchline.get(url).text == "one", where
            # The network, once it is there, is found and taken.
            assert "warning: " in result.err or "/networks/create" in nth.failed.path, where
        else:
            assert result.code == 1, where
            assert len(errors(result)) == 1, where
            assert result.err.splitlines()[-1].startswith("  → "), f"no remedy: {where}"
            # What failed for a reason of its own is on record; nothing else is left.
            assert shape(engine, branchline.platform) in ([], ["volume failed"]), where
        done(branchline, repo.path, "deploy")
        assert shape(engine, branchline.platform) == expected, where
        assert branchline.get(url).text == "one", where
    else:
        pytest.fail("the deploy never came to its end")
    assert number > 7, "the calls didn't go through the proxy"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_of_a_redeploy_may_fail_and_a_release_goes_on_serving(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    faulty: Proxy,
    fault: str,
) -> None:
    repo = repository(site(tiny_base, "x"))
    url = branchline.deploy(repo)["url"]
    repo.commit(files=site(tiny_base, "0"))
    branchline.deploy(repo)
    expected = shape(engine, branchline.platform)
    serves = "0"
    for number in range(STEPS[fault], LONGEST, STEPS[fault]):
        repo.commit(files=site(tiny_base, str(number)))
        nth = NthCall(fault, number)
        faulty.let(nth)
        result = branchline.try_("deploy", cwd=repo.path, env=faulty.environment)
        if nth.failed is None:
            assert result.code == 0
            break
        where = f"{fault}: {nth.failed}:\n{result.err}"
        if result.code == 0:
            assert branchline.get(url).text == str(number), where
        else:
            assert result.code == 1, where
            assert len(errors(result)) == 1, where
            assert branchline.get(url).text == serves, where
            assert shape(engine, branchline.platform) in (expected, sorted([*expected, "volume failed"])), where
        done(branchline, repo.path, "deploy")
        assert shape(engine, branchline.platform) == expected, where
        assert branchline.get(url).text == str(number), where
        serves = str(number)
    else:
        pytest.fail("the deploy never came to its end")
    assert number > 7, "the calls didn't go through the proxy"


FULL = "write /var/lib/docker/tmp/x: no space left on device"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/volumes/create", proxy.refused(FULL)),
        ("/build", proxy.refused(FULL)),
        ("/build", proxy.build_error(FULL)),
        ("/networks/create", proxy.refused(FULL)),
        ("/containers/create", proxy.refused(FULL)),
        ("/start", proxy.refused(FULL)),
    ],
    ids=["volume", "context", "build step", "network", "container", "start"],
)
def test_a_full_disk_of_the_engine_is_named_with_what_frees_it(
    branchline: Branchline,
    tiny_base: str,
    repository: Callable[..., Repo],
    engine: docker.DockerClient,
    faulty: Proxy,
    path: str,
    answer: bytes,
) -> None:
    repo = repository(site(tiny_base, "one"))

    def full(call: Call) -> bytes | None:
        return answer if call.method == "POST" and path in call.path.partition("?")[0] else None

    faulty.let(full)
    failed = branchline.try_("deploy", "--json", cwd=repo.path, env=faulty.environment)
    assert failed.code == 1
    assert "the engine's disk is full" in failed.json["error"]
    assert "docker system df" in failed.json["remedy"]
    assert [line for line in resources(engine, branchline) if not line.partition(" of ")[0].endswith(".failed")] == []
    faulty.let(lambda _: None)
    assert branchline.get(branchline.deploy(repo, env=faulty.environment)["url"]).text == "one"


def test_an_engine_that_is_gone_for_good_ends_a_deploy_with_one_error(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], faulty: Proxy
) -> None:
    """Not even what was made can be taken back then; `reap` and the next deploy do it."""
    repo = repository(site(tiny_base, "one"))
    created: list[Call] = []

    def die(call: Call) -> bytes | None:
        if "/containers/create" in call.path:
            created.append(call)
        return proxy.LOST if created else None

    faulty.let(die)
    failed = branchline.try_("deploy", cwd=repo.path, env=faulty.environment)
    assert failed.code == 1
    assert len(errors(failed)) == 1
    assert "lost the engine" in errors(failed)[0]
    assert "docker version" in failed.err
    assert branchline.get(branchline.deploy(repo)["url"]).text == "one"


def test_what_answers_and_is_no_engine_is_told(branchline: Branchline, shop: Repo, faulty: Proxy) -> None:
    for answer in (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"220 mail.test ESMTP\r\n",
    ):
        faulty.let(lambda _, answer=answer: answer)
        failed = branchline.try_("list", cwd=shop.path, env=faulty.environment)
        assert failed.code == 1, failed.err
        assert len(errors(failed)) == 1
        assert faulty.path.name in errors(failed)[0]


def test_an_interrupted_log_and_a_command_pass_through_the_proxy(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], faulty: Proxy
) -> None:
    """So that the failures above are the proxy's doing and not its shortcomings."""
    repo = repository(site(tiny_base, "one"))
    branchline.deploy(repo, env=faulty.environment)
    assert branchline("exec", "main", "--", "echo", "hi", cwd=repo.path, env=faulty.environment).out == "hi\n"
    assert branchline("logs", "main", cwd=repo.path, env=faulty.environment).code == 0


def test_a_build_whose_image_was_taken_away_meanwhile_is_done_once_more(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], faulty: Proxy
) -> None:
    """As it happens where another branch of the same commit is removed at that moment, which has the same image."""
    repo = repository(site(tiny_base, "one"))
    gone = (
        "failed to get digest sha256:0123: open /var/lib/docker/image/overlay2/imagedb/0123: no such file or directory"
    )

    def take_away(times: int) -> Callable[[Call], bytes | None]:
        builds: list[Call] = []

        def fault(call: Call) -> bytes | None:
            if call.method != "POST" or "/build" not in call.path.partition("?")[0]:
                return None
            builds.append(call)
            return proxy.build_error(gone) if len(builds) <= times else None

        return fault

    faulty.let(take_away(2))
    assert branchline.try_("deploy", cwd=repo.path, env=faulty.environment).code == 1
    faulty.let(take_away(1))
    assert branchline.get(branchline.deploy(repo, env=faulty.environment)["url"]).text == "one"
