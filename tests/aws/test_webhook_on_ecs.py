"""A branch's deletion, from the forge's signed delivery to the last resource: API, function, and all that it removes.

The API and the function are the emulator's: it runs the zip for real, with this machine's Python and boto3 whatever
runtime the function asks for. test_function_code.py runs the zip with nothing but boto3. Whether IAM lets the function
do all that is checked by nothing here but names: each call that it makes is one that its role allows.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from branchline import labels, lifecycle
from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, routing, specs, tags
from branchline.engines.ecs.bookmarks import DynamoBookmarks
from branchline.engines.ecs.webhook_secret import Document, EcsSecrets, read_secret, write_secret
from branchline.environment import EnvironmentId
from branchline.events import Ready
from branchline.notifiers.slack import Slack
from branchline.ports import Push
from branchline.settings.application import Application
from branchline.source.repository import Repository
from branchline.telling import About
from tests.aws import proxy
from tests.aws.app import app
from tests.aws.base import listen
from tests.aws.conftest import MiniStack, remove_images
from tests.aws.direct import push_of
from tests.aws.proxy import Call, Effect, Fault, Proxy, Refusal
from tests.aws.shop import Shop, nothing, open_shop
from tests.conftest import RUN_VARIABLE, Run
from tests.driver import Branchline
from tests.forge_payloads import branch_deleted, sample, signed
from tests.forge_stand_ins.github import GitHubStandIn
from tests.forge_stand_ins.server import Answer
from tests.policies import actions, statements_of_role
from tests.repositories import ENVIRONMENT, Repo
from tests.slack import CHANNEL, TOKEN, SlackStandIn
from tests.waiting import eventually

pytestmark = pytest.mark.slow
BRANCHES = ("main", "old", "feature/gone", "Größe/#42")
DENIED = Refusal(400, json.dumps({"__type": "AccessDeniedException", "message": "not today"}).encode())


@dataclass(frozen=True)
class Listener:
    """A platform that listens to forges, and what it tells of it."""

    shop: Shop
    url: str
    function: str
    secret: str
    """Its ARN."""
    slack: SlackStandIn
    proxy: Proxy
    """Between the function and AWS."""

    @property
    def signing(self) -> str:
        """The present secret."""
        return EcsSecrets(self.shop.aws, self.secret).read()[0]

    def post(self, forge: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """A forge's delivery."""
        return httpx.post(f"{self.url}/webhooks/{forge}", headers=headers, content=body, timeout=30)

    def delete(self, forge: str = "github", branch: str = "main", repository: str = "") -> str:
        """The forge's word that the branch was deleted; the delivery's id."""
        event, payload = branch_deleted(forge, branch, repository or str(self.shop.repo.path))
        return self.accepted(forge, event, payload)

    def accepted(self, forge: str, event: str, payload: dict[str, Any]) -> str:
        """A signed delivery that is taken; its id."""
        answer = self.post(forge, *signed(forge, event, payload, self.signing))
        assert answer.status_code == 202, answer.text
        return answer.json()["delivery"]

    def logged(self, what: str, delivery: str) -> dict[str, Any]:
        """What the function has logged about a delivery, once it has."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.log() if (line["what"], line.get("delivery")) == (what, delivery)), None)

        return eventually(found, f"the function says that it has {what} for {delivery}", timeout=30)

    def log(self) -> list[dict[str, Any]]:
        """All that the function has logged."""
        logs, group = self.shop.aws.logs, f"/aws/lambda/{self.function}"
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event.get("message", "") for page in pages for event in page["events"]]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def told(self, document: Document) -> None:
        """The operator's settings change. The function's next call knows."""
        write_secret(self.shop.aws, self.secret, document)
        self.restart()

    def restart(self) -> None:
        """New execution environments, as after any change of the function. Their way to AWS leads by the proxy."""
        functions = self.shop.aws.functions
        now = functions.get_function_configuration(FunctionName=self.function)
        variables = now.get("Environment", {}).get("Variables", {}) | {"AWS_ENDPOINT_URL": self.proxy.url}
        functions.update_function_configuration(
            FunctionName=self.function, Environment={"Variables": variables}, Description=secrets.token_hex(4)
        )

    def reap(self) -> Any:
        """Does what the schedule does; what the function returns."""
        scheduler: Any = self.shop.aws.session.client("scheduler")
        target = scheduler.get_schedule(Name=f"branchline-{self.shop.base.platform}-reap")["Target"]
        assert target["Arn"].endswith(f":function:{self.function}")
        answer = self.shop.aws.functions.invoke(FunctionName=self.function, Payload=target["Input"])
        said = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, said
        return said

    def failures(self) -> list[str]:
        """Why reaps failed, as the log has it, by which an alarm counts them."""
        return [line["error"] for line in self.log() if (line["what"], line.get("job")) == ("failed", "reap")]

    def deploy(self, branch: str = "main", repository: str = "") -> EnvironmentId:
        """Deploys the branch, as of a repository that is at this URL."""
        push = push_of(self.shop.base.platform, self.shop.repo, branch)
        if repository:
            assert isinstance(push.source, Repository)
            push = replace(push, source=replace(push.source, url=repository))
        lifecycle.deploy(self.shop.platform(), push, nothing, Cancellation())
        return push.environment

    def deploy_all(self, repository: str = "") -> list[EnvironmentId]:
        """The same for all branches, one after the other: at once, the engine may lose the image that they share."""
        return [self.deploy(branch, repository) for branch in BRANCHES]

    def is_gone(self) -> None:
        """Returns once nothing is left."""
        eventually(lambda: not self.shop.there(), "all is gone", timeout=60)
        self.shop.is_gone()


@pytest.fixture(scope="module")
def made(
    run: Run,
    engine: docker.DockerClient,
    ministack: MiniStack,
    tiny_base: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Listener]:
    """One platform for all tests here, each of which leaves it as it was."""
    directory, platform = tmp_path_factory.mktemp("webhook"), f"{run.platforms}{secrets.token_hex(3)}"
    with pytest.MonkeyPatch.context() as patch, SlackStandIn() as slack, proxy.in_front_of(ministack.url) as between:
        for name, value in (ministack.environment | ENVIRONMENT).items():
            patch.setenv(name, value)
        repo = Repo.create(directory / "shop")
        repo.commit("First commit", app(tiny_base, "1"))
        for branch in BRANCHES[1:]:
            repo.branch(branch)
        with open_shop(ministack, repo, platform, directory / "state", patch) as shop:
            told = Document(slack={"token": TOKEN, "channel": CHANNEL, "api": slack.api})
            door = listen(shop.aws, platform, ministack.url, told)
            yield Listener(shop, door.url, door.function, door.secret, slack, between)
        remove_images(engine, ministack, f"branchline.{platform}/")


@pytest.fixture
def listener(made: Listener) -> Iterator[Listener]:
    """The platform, with nothing on it, and new execution environments of the function."""
    document = read_secret(made.shop.aws, made.secret)
    made.proxy.let(lambda _: None)
    made.slack.messages.clear()
    made.restart()
    yield made
    made.proxy.let(lambda _: None)
    write_secret(made.shop.aws, made.secret, document)
    platform = made.shop.platform()
    for environment in platform.engine.environments():
        lifecycle.destroy(platform, environment.id, nothing, Cancellation())
    assert made.slack.refused == []


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    """A forge that the function has a token for, once it is told."""
    with GitHubStandIn() as stand_in:
        yield stand_in
        assert stand_in.wrong == []


def with_forge(listener: Listener, forge: GitHubStandIn) -> None:
    """Gives the function the forge's token."""
    document = read_secret(listener.shop.aws, listener.secret)
    listener.told(replace(document, forges={"github": {"url": forge.url, "token": forge.token}}))


def test_a_signed_deletion_removes_all_that_the_branch_had_and_is_told_once(listener: Listener) -> None:
    shop, slack = listener.shop, listener.slack
    environment = listener.deploy()
    bookmarks = DynamoBookmarks(shop.aws, shop.base.platform)
    bot = Slack(token=TOKEN, channel=CHANNEL, api=slack.api, bookmarks=bookmarks)
    bot.hear(Ready(environment, "https://main", shop.repo.head, 1, first=True), About())
    before = shop.there()
    assert [each for each in before if each.startswith("lease")]  # where the thread is

    event, payload = branch_deleted("github", "main", str(shop.repo.path))
    headers, body = signed("github", event, payload, "guessed")
    right = signed("github", event, payload, listener.signing)[0]
    signature = right["x-hub-signature-256"]
    listener.proxy.let(lambda _: None)
    for wrong in (
        headers,
        {name: value for name, value in headers.items() if name != "x-hub-signature-256"},
        *(
            headers | {"x-hub-signature-256": value}
            for value in ("", "sha256=", signature.upper(), signature[:-2], f"sha1={signature[7:]}", f"{signature} x")
        ),
    ):
        answer = listener.post("github", wrong, body)
        assert (answer.status_code, answer.json()) == (401, {"error": "unauthorised"})
    assert listener.post("github", right, body + b" ").status_code == 401
    assert listener.post("gitea", right, body).status_code == 401
    assert {call.operation for call in listener.proxy.calls} == {"GetSecretValue"}
    assert shop.there() == before

    pushed = sample("github", "push") | {"ref": "refs/heads/main", "after": "0" * 40, "deleted": True}
    pushed["repository"] |= payload["repository"]
    with ThreadPoolExecutor() as pool:  # as GitHub does, with one of them twice
        again = [
            pool.submit(listener.post, "github", *signed("github", *each, listener.signing))
            for each in ((event, payload), (event, payload), ("push", pushed))
        ]
        deliveries = [each.result().json()["delivery"] for each in again]
    for delivery in deliveries:
        listener.logged("removed", delivery)
    listener.is_gone()
    first, removed = slack.messages
    assert "its branch was deleted" in slack.texts[1]
    assert removed["thread_ts"] == first["ts"]
    assert "failed" not in {line["what"] for line in listener.log()}
    asked = {str(call).replace("Post /2015-03-31/functions/", "InvokeFunction ") for call in listener.proxy.calls}
    allowed = actions(statements_of_role("webhook", "Role"))
    assert {each for each in asked if each.partition(" ")[0] not in allowed} == set()


def test_a_deletion_stops_first_deploys_that_build_or_start(listener: Listener, tmp_path: Path) -> None:
    shop = listener.shop
    for branch, files in {
        "builds": {"Dockerfile": f"{(shop.repo.path / 'Dockerfile').read_text()}RUN sleep 60\n"},
        "starts": {"start": "trap 'exit 0' TERM; sleep 60 & wait\n"},
    }.items():
        shop.repo.checkout(branch, create=True)
        shop.repo.commit(branch, files)
        shop.repo.checkout("main")
    branchline = _command_line(shop, tmp_path)
    running = {
        branch: branchline.start("deploy", "--branch", branch, cwd=shop.repo.path) for branch in ("builds", "starts")
    }
    try:
        eventually(lambda: any("service/" in each for each in shop.there()), "one starts", timeout=30)
        eventually(lambda: len(shop.platform().engine.environments()) == 2, "the other has its turn")
        deliveries = [listener.delete(branch=branch) for branch in running]
        for branch, process in running.items():
            _, said = process.communicate(timeout=60)
            assert (process.returncode, said.splitlines()[-1]) == (
                1,
                f"error: {branch} was destroyed while its deploy was running",
            )
        for delivery in deliveries:
            listener.logged("removed", delivery)
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    listener.is_gone()


def test_each_forge_says_it_in_its_own_way(listener: Listener) -> None:
    """All at once, each of a branch of its own. GitHub says it twice; here it is by the push alone."""
    repository = str(listener.shop.repo.path)
    listener.deploy_all()
    event, payload = "push", sample("github", "push") | {"after": "0" * 40, "deleted": True}
    payload["repository"] |= {"clone_url": repository, "ssh_url": None}
    listener.accepted("github", event, payload | {"ref": "refs/heads/main"})
    for forge, branch in zip(("gitlab", "bitbucket", "gitea"), BRANCHES[1:], strict=True):
        listener.delete(forge, branch)
    listener.is_gone()
    assert len(listener.slack.messages) == len(BRANCHES)


def test_what_is_not_about_our_branch_removes_nothing(listener: Listener, github: GitHubStandIn) -> None:
    """Another repository's branch or a tag of its name; and with a forge to ask, a deletion that is no longer true."""
    shop = listener.shop
    with_forge(listener, github)
    listener.deploy(repository=github.repository)
    before = shop.there()
    elsewhere = f"{github.url}/other/shop.git"
    others = listener.delete(repository=elsewhere)
    event, payload = branch_deleted("github", "main", github.repository)
    tagged = listener.post("github", *signed("github", event, payload | {"ref_type": "tag"}, listener.signing))
    assert (tagged.status_code, tagged.json()["status"]) == (202, "ignored")
    late = listener.delete(repository=github.repository)
    assert listener.logged("removed", others)["removed"] == {}
    assert listener.logged("left alone, as the forge has the branch", late)["removed"] is None
    assert shop.there() == before
    assert github.asked("git/ref/heads/main") == 3

    github.branches.remove("main")
    listener.delete(repository=github.repository)
    listener.is_gone()
    assert len(listener.slack.messages) == 1


def test_a_secret_stays_valid_until_the_second_rotation_and_a_new_one_counts_at_once(listener: Listener) -> None:
    rotating = EcsSecrets(listener.shop.aws, listener.secret)

    def status(secret: str) -> int:
        return listener.post("github", *signed("github", "ping", sample("github", "ping"), secret)).status_code

    first = listener.signing
    assert status(first) == 200
    second = rotating.rotate()[0]
    eventually(lambda: status(second) == 200, "the new one counts", timeout=5, interval=0.3)
    assert status(first) == 200
    third = rotating.rotate()[0]
    listener.restart()  # otherwise the function goes by what it has read, for a minute
    assert [status(each) for each in (first, second, third)] == [401, 200, 200]


def test_a_job_that_fails_is_done_again_and_in_the_end_kept(listener: Listener) -> None:
    """The emulator waits for a second and for two, where AWS waits for one minute and for two."""
    shop = listener.shop
    functions, sqs = shop.aws.functions, shop.aws.session.client("sqs")
    listener.deploy()
    configured = functions.get_function_event_invoke_config(FunctionName=listener.function, Qualifier="$LATEST")
    queue = f"branchline-{shop.base.platform}-webhook-failed"
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    assert configured["DestinationConfig"]["OnFailure"]["Destination"].endswith(f":{queue}")

    def hit(call: Call) -> Fault | None:
        return DENIED if call.operation == "ListServices" and not failed.append(call) and len(failed) == 1 else None

    failed: list[Call] = []
    functions.invoke(FunctionName=listener.function, InvocationType="Event", Payload=json.dumps({"job": "unknown"}))
    listener.proxy.let(hit)
    listener.delete()
    listener.is_gone()
    assert len(failed) == 2
    assert [line["error"] for line in listener.log() if line.get("job") == "remove" and line["what"] == "failed"] == [
        "can't list the services: not today"
    ]

    def kept() -> dict[str, Any] | None:
        messages = sqs.receive_message(QueueUrl=url).get("Messages", [])
        return json.loads(messages[0]["Body"]) if messages else None

    message = eventually(kept, "what failed three times is in the queue", timeout=20)
    assert message["requestPayload"] == {"job": "unknown"}
    assert "unknown job" in message["responsePayload"]["errorMessage"]


def test_the_schedule_reaps_what_was_missed_but_nothing_of_a_repository_that_cannot_be_read(
    listener: Listener, github: GitHubStandIn, tmp_path: Path
) -> None:
    shop = listener.shop
    with_forge(listener, github)
    _, old, _, _ = listener.deploy_all(github.repository)
    github.branches[:] = ["main", "old", *(f"other/{number}" for number in range(150)), "Größe/#42"]
    _leave_behind(shop, "lost/branch")

    github.answers.append(("branches", Answer(200, [])))
    (empty,) = listener.reap()["problems"]
    github.refusals["branches"] = Answer(503, {"message": "Service unavailable"})
    (unavailable,) = listener.reap()["problems"]
    assert listener.failures() == [empty, unavailable]
    for problem in (empty, unavailable):
        assert "so none is taken for gone" in problem
        assert github.token not in problem
    assert _branches(shop) == sorted(BRANCHES)
    assert [each for each in shop.there() if "lost" in each] == []  # it is known not to be anybody's

    github.refusals.clear()
    expired = {labels.EXPIRES: (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")}
    shop.aws.ecs.tag_resource(resourceArn=_service(shop, old), tags=tags.ecs_tags(expired))
    branchline = _command_line(shop, tmp_path, f'[github]\nurl = "{github.url}"\ntoken = "{github.token}"\n')
    listed = branchline("reap", "--dry-run", "--json", cwd=tmp_path).json
    assert sorted(each["branch"] for each in listed) == ["feature/gone", "old"]
    assert _branches(shop) == sorted(BRANCHES)
    answer = listener.reap()
    assert sorted(answer["removed"]) == ["shop/feature/gone", "shop/old"]
    assert _branches(shop) == ["Größe/#42", "main"]
    assert shop.answer() == "1"
    assert len(listener.slack.messages) == 2
    assert listener.reap() == {"removed": {}, "problems": []}
    assert len(listener.failures()) == 2


@pytest.mark.parametrize(
    "question", ["elasticloadbalancing:DescribeTags", "logs:ListTagsForResource", "ecs:DescribeTaskDefinition"]
)
def test_what_goes_while_the_reaper_looks_around_is_no_error(listener: Listener, question: str) -> None:
    """Somebody else's removal takes it, between the list and the question whose it is."""
    environment = _leave_behind(listener.shop, "lost/branch")
    platform, removed = listener.shop.platform(), list[str]()

    def take() -> None:
        removed.extend(lifecycle.destroy(platform, environment, nothing, Cancellation()))

    listener.proxy.let(lambda call: Effect(before=take) if str(call) == question and not removed else None)
    assert listener.reap()["problems"] == []
    assert {line.partition(" ")[0] for line in removed} == {"DNS", "listener", "log", "target", "task"}
    listener.is_gone()


def _command_line(shop: Shop, directory: Path, settings: str = "") -> Branchline:
    file = directory / "platform.toml"
    file.write_text(
        f'platform = "{shop.base.platform}"\nengine = "ecs"\nstate_dir = "{directory}"\n[ecs]\n'
        f'registry = "{shop.ministack.registry}"\nload_balancer = "{shop.ministack.load_balancer}"\n{settings}'
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BRANCHLINE_")}
    run = os.environ[RUN_VARIABLE]
    environment = inherited | {"BRANCHLINE_CONFIG": str(file), RUN_VARIABLE: run}
    return Branchline(shop.base.platform, 0, directory, environment)


def _branches(shop: Shop) -> list[str]:
    return [each.id.branch for each in shop.platform().engine.environments()]


def _service(shop: Shop, environment: EnvironmentId) -> str:
    name, cluster = names.service(environment), names.cluster(environment.platform)
    return shop.aws.ecs.describe_services(cluster=cluster, services=[name])["services"][0].get("serviceArn", "")


def _leave_behind(shop: Shop, branch: str) -> EnvironmentId:
    """What a deploy makes before it is killed."""
    environment = EnvironmentId(shop.base.platform, "shop", branch)
    push = Push(environment, "c" * 40, Application())
    routing.make(shop.aws, push, shop.base, f"lost.{shop.base.domain}", 8000, look=False)
    owner = specs.owner(environment)
    shop.aws.logs.create_log_group(logGroupName=names.log_group(environment), tags=tags.encode(owner))
    shop.aws.ecs.register_task_definition(
        family=names.family(environment),
        containerDefinitions=[{"name": "app", "image": "x", "memory": 8}],
        tags=tags.ecs_tags(owner),
    )
    return environment
