"""The demo of Amazon ECS, on this machine: a platform is made, branches live and go, and nothing is left.

`make demo-aws` runs it. As in demo.py, everything is done by the command `branchline`, and every claim is checked. In
place of AWS there is MiniStack, which is started for this and ended with all that it had, also on Ctrl-C. What it lacks
is said, and what AWS was asked for is checked instead.
"""

from __future__ import annotations

import http.client
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import docker
import docker.errors
import emulator
from account import Account, Contents
from emulator import Emulator
from narration import chapter, claim, explain, say
from shop import base_image, broken_dockerfile, page
from visitors import Door, Load
from workplace import Workplace

from tests.forge_payloads import branch_deleted, signed
from tests.slack import SlackStandIn

NAME = f"demo-{secrets.token_hex(3)}"
"""Of the platform: on one engine, two demos don't meet."""
CLUSTER = f"branchline-{NAME}"
BASE = f"branchline-{NAME}-base"
DOMAIN = "preview.test"
LOGIN = "feature/login"
SEARCH = "feature/search"
FIRST, SECOND = f"This is {LOGIN}.", "This is the second release."
RESCHEDULED_SECONDS = 30
REMOVED_SECONDS = 60
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Story:
    """What the demo shows, a chapter a method, in the order in which it is told."""

    def __init__(self, aws: Emulator, home: Path, engine: docker.DockerClient, slack: SlackStandIn) -> None:
        self.aws, self.engine, self.slack = aws, engine, slack
        self.account = Account(aws.url, emulator.REGION)
        self.shop = Workplace(home, aws.variables)
        self.door = Door(aws.port, f"/_alb/bl-{NAME}-1/")
        self.urls: dict[str, str] = {}
        self.took: dict[str, float] = {}

    def tell(self) -> None:
        claim(True, f"MiniStack answers at {self.aws.url}")
        before = self.account.contents()
        self.make_platform()
        self.deploy_branches()
        self.deploy_unchanged()
        self.redeploy_under_load()
        self.show_what_was_asked_for()
        self.break_a_commit()
        self.roll_back()
        self.interrupt_a_task()
        with_branches = self.account.contents()
        self.destroy_a_branch()
        self.delete_a_branch()
        self.miss_a_delivery()
        self.remove_platform()
        self.prove_that_the_account_is_empty(before, with_branches)

    # The platform

    def make_platform(self) -> None:
        chapter("A platform on AWS, made once")
        explain("One command makes what all branches share: network, load balancer, cluster, roles.")
        self.shop.settings.write_text(
            "# The operator's settings.\n"
            f'platform = "{NAME}"\nengine = "ecs"\nstate_dir = "{self.shop.home}/state"\n\n'
            f'[ecs]\nregistry = "{self.aws.registry}"\nload_balancer = "{self.aws.url}/_alb/{{name}}"\n\n'
            f'[webhook]\nurl = "{self.aws.url}/_aws/execute-api/{{api}}/$default"\n\n'
            f'[slack]\nwebhook = "{self.slack.webhook}"\n'
        )
        self.took["bootstrap"] = self.shop.branchline("aws", "bootstrap", "--domain", DOMAIN, cwd=self.shop.home)
        status, _ = self.door.get(f"http://nothing.{DOMAIN}")
        claim(status == 404, f"the load balancer answers; a host that no branch has gets {status}")
        explain("It also made what listens to the forge: an HTTP API, and a Lambda function. Is all of it there?")
        self.shop.branchline("webhook", "test", cwd=self.shop.home)

    # Branches

    def deploy_branches(self) -> None:
        chapter("Branches are pushed, and each gets a URL")
        features = {LOGIN: ("Log in", "#3949ab"), SEARCH: ("Search", "#00897b")}
        self.shop.make_repository(BASE, features)
        for branch in ("main", *features):
            self.deploy(f"first deploy of {branch}", "--branch", branch)
        self.urls = {item["branch"]: item["url"] for item in self.shop.asked("list")}
        for branch, url in self.urls.items():
            self.claim_serving(branch, f"This is {branch}.", f"{url} answers with the page of {branch}")
        host = self.urls["main"].removeprefix("http://")
        explain("On AWS, DNS leads there. Here the load balancer is asked by the Host header, as you can do meanwhile:")
        say(f"  curl -H 'Host: {host}' \\\n    http://127.0.0.1:{self.door.port}{self.door.path}")
        self.claim_told(f"{LOGIN} is live", "Slack was told of each, once")

    def deploy_unchanged(self) -> None:
        chapter("The same commit again: nothing to do")
        before = self.account.contents()
        self.deploy("unchanged deploy", "--branch", "main")
        claim(self.account.contents() == before, "no image was built, no task definition registered, nothing changed")

    def redeploy_under_load(self) -> None:
        chapter("A push swaps the new release in, while visitors keep asking")
        self.shop.git("checkout", "--quiet", LOGIN)
        title = "Log in by e-mail"
        self.shop.commit(title, {"www/index.html": page(title, SECOND, "#8e24aa")})
        with Load(self.door, self.urls[LOGIN], (FIRST, SECOND)) as load:
            self.deploy(f"redeploy of {LOGIN}")
        before, after = load.seen.values()
        claim(before > 0 and after > 0, f"{before} visits got the old release, {after} the new one")
        count_failures(load)
        explain(
            "AWS does better than the emulator, which has neither a health gate (a new task gets requests as soon as it"
            " runs) nor draining (an old one is stopped amid its requests). So that number, even a 0, proves nothing,"
            " and what AWS is asked for is checked instead."
        )

    def show_what_was_asked_for(self) -> None:
        chapter("What AWS was asked for, read back from its API")
        ecs, balancing = self.account.client("ecs"), self.account.client("elbv2")
        arns = ecs.list_services(cluster=CLUSTER)["serviceArns"]
        for service in ecs.describe_services(cluster=CLUSTER, services=arns)["services"]:
            explain(f"The service {service['serviceName']}:")
            wanted = service["deploymentConfiguration"]
            breaker = wanted["deploymentCircuitBreaker"]
            group = service["loadBalancers"][0]["targetGroupArn"]
            health = balancing.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
            interval, passes = health["HealthCheckIntervalSeconds"], health["HealthyThresholdCount"]
            attributes = balancing.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
            delay = {item["Key"]: item["Value"] for item in attributes}["deregistration_delay.timeout_seconds"]
            percent = wanted["minimumHealthyPercent"]
            provider = service["capacityProviderStrategy"][0]["capacityProvider"]
            claim(percent == 100, f"minimumHealthyPercent {percent}: the old task runs until the new one is healthy")
            claim(breaker["enable"] and breaker["rollback"], "circuit breaker with rollback: a bad release is given up")
            claim((interval, passes) == (5, 2), f"health check every {interval} s, {passes} to pass before any request")
            claim(delay == "5", f"deregistration delay {delay} s: requests at the old task may finish")
            claim(provider == "FARGATE_SPOT", f"capacity of {provider}: spare machines, at a lower price")

    def break_a_commit(self) -> None:
        chapter("A broken commit: the old release goes on serving")
        self.shop.commit("Use the new database", {"Dockerfile": broken_dockerfile(BASE, code=3)})
        with Load(self.door, self.urls[LOGIN], (FIRST, SECOND)) as load:
            self.deploy("broken deploy", expected=1)
        claim(load.seen[SECOND] > 0 and not load.seen[FIRST], f"{load.seen[SECOND]} visits got the release before it")
        count_failures(load)
        self.claim_serving(LOGIN, SECOND, "and so does the next")
        failed = self.shop.asked("show", LOGIN)["failed"]
        claim("exit code 3" in failed["failure"], "the failure is on record: 'branchline show' tells it to all")

    def roll_back(self) -> None:
        chapter("Back to the release before")
        self.took["rollback"] = self.shop.branchline("rollback", LOGIN)
        self.claim_serving(LOGIN, FIRST, "the URL serves the first release again")

    def interrupt_a_task(self) -> None:
        chapter("A Spot interruption: the container is killed")
        explain(
            "Spot capacity is cheap because AWS may take it back, with two minutes' notice. Here there is none: the"
            " container is killed behind ECS's back, and ECS has to start the task anew."
        )
        killed = self.container()
        say(f"$ docker kill {killed}", "1")
        self.engine.api.kill(killed)
        begun = time.monotonic()
        while not (now := self.container_that_serves(FIRST)) or now == killed:
            if time.monotonic() - begun > RESCHEDULED_SECONDS:
                claim(False, f"no other container served within {RESCHEDULED_SECONDS} s")
            time.sleep(0.1)
        seconds = time.monotonic() - begun
        self.took["anew after the kill"] = seconds
        claim(True, f"{now} took its place: the URL was away for no more than {seconds:.1f} s")
        self.shop.branchline("list")

    # The end

    def destroy_a_branch(self) -> None:
        chapter("A branch is destroyed")
        self.took["destroy"] = self.shop.branchline("destroy", "main")
        self.claim_gone("main")
        self.claim_serving(LOGIN, FIRST, "the other branch was not touched")

    def delete_a_branch(self) -> None:
        chapter("A branch is deleted in git: the forge says so, and all that it had goes")
        self.shop.git("checkout", "--quiet", "main")
        self.shop.delete_branch(LOGIN)
        explain(
            "Here this script stands in for GitHub: it posts the delivery that GitHub sends, to the API's URL. First as"
            " somebody would who doesn't know the secret."
        )
        before = self.account.contents()
        status, said = self.deliver(LOGIN, secrets.token_urlsafe(32))
        claim(status == 401, f"a wrong signature: {status} {said}")
        claim(self.account.contents() == before, "nothing changed")
        begun = time.monotonic()
        status, said = self.deliver(LOGIN, self.shop.asked("webhook", "secret", "show")["secret"])
        claim(status == 202, f"signed with the secret: {status} {said}")
        while LOGIN in {item["branch"] for item in self.shop.asked("list")}:
            if time.monotonic() - begun > REMOVED_SECONDS:
                claim(False, f"the function removed nothing within {REMOVED_SECONDS} s")
        self.took["removal by webhook"] = time.monotonic() - begun
        self.claim_gone(LOGIN)
        kinds = ("ECS services", "listener rules", "target groups", "task definitions", "container images")
        now = self.account.contents()
        fewer = [f"{len(before[kind] - now[kind])} {kind}" for kind in kinds]
        claim(all(before[kind] - now[kind] for kind in kinds), f"gone: {', '.join(fewer)}, and its log group")
        self.claim_told(f"{LOGIN} is removed: its branch was deleted", "Slack was told, once")

    def miss_a_delivery(self) -> None:
        chapter("A delivery is lost: reap removes what it left")
        explain("GitHub never sends one again. On AWS the function looks every 15 minutes, as this command does:")
        self.shop.delete_branch(SEARCH)
        self.took["reap"] = self.shop.branchline("reap")
        self.claim_gone(SEARCH)

    def remove_platform(self) -> None:
        chapter("The platform goes, too")
        self.took["teardown"] = self.shop.branchline("aws", "teardown", "--yes")

    def prove_that_the_account_is_empty(self, before: Contents, with_branches: Contents) -> None:
        chapter("What is left in the account, by each service's own list")
        now = self.account.contents()
        say(f"  {'':<22} {'before':>7} {'with branches':>14} {'now':>5}", "1")
        for kind in before:
            say(f"  {kind:<22} {len(before[kind]):>7} {len(with_branches[kind]):>14} {len(now[kind]):>5}")
        left = {kind: sorted(ids - before[kind]) for kind, ids in now.items() if ids - before[kind]}
        claim(not left, f"left: {left}" if left else "nothing that the platform or its branches had is left")
        claim(now == before, "what was there before was not touched")
        explain(
            "One role is not in these lists, as it is the account's own: AWSServiceRoleForECS, which AWS has in every"
            " account that uses ECS."
        )

    # What several chapters do

    def deploy(self, what: str, *arguments: str, expected: int = 0) -> None:
        self.took[what] = self.shop.branchline("deploy", *arguments, expected=expected)

    def claim_serving(self, branch: str, expected: str, text: str) -> None:
        status, answer = self.door.get(self.urls[branch])
        claim(status == 200 and expected in answer, text)

    def claim_told(self, what: str, text: str) -> None:
        """Slack's stand-in got one message that says so."""
        begun = time.monotonic()
        while not (told := [said for said in self.slack.texts if what in said]):
            if time.monotonic() - begun > REMOVED_SECONDS:
                break
            time.sleep(0.1)
        claim(len(told) == 1 and not self.slack.refused, text)
        for line in (told or [""])[0].splitlines():
            say(f"    | {line}", "2")

    def deliver(self, branch: str, secret: str) -> tuple[int, str]:
        """Posts GitHub's word that the branch was deleted, signed with the secret."""
        event, payload = branch_deleted("github", branch, str(self.shop.origin))
        headers, body = signed("github", event, payload, secret)
        api = self.account.client("apigatewayv2").get_apis()["Items"][0]["ApiId"]
        connection = http.client.HTTPConnection("127.0.0.1", self.aws.port, timeout=30)
        try:
            connection.request("POST", f"/_aws/execute-api/{api}/$default/webhooks/github", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def claim_gone(self, branch: str) -> None:
        status, _ = self.door.get(self.urls[branch])
        claim(status == 404, f"{self.urls[branch]} answers {status}")

    def container_that_serves(self, expected: str) -> str:
        """The container of the login branch, if its URL answers with that text; otherwise empty."""
        try:
            status, answer = self.door.get(self.urls[LOGIN])
        except (OSError, http.client.HTTPException):  # the emulator may still ask a container that is gone
            return ""
        return self.container() if status == 200 and expected in answer else ""

    def container(self) -> str:
        """The id of the container that runs the login branch's task; empty where there is none now."""
        ecs = self.account.client("ecs")
        service = self.urls[LOGIN].removeprefix("http://").partition(".")[0]
        tasks = ecs.list_tasks(cluster=CLUSTER, serviceName=service, desiredStatus="RUNNING")["taskArns"]
        described = ecs.describe_tasks(cluster=CLUSTER, tasks=tasks)["tasks"] if tasks else []
        running = [task for task in described if task["lastStatus"] == "RUNNING"]
        return next((item.get("runtimeId") or "" for task in running for item in task["containers"]), "")


def count_failures(load: Load) -> None:
    """Says how many visits failed. It is no claim: see `redeploy_under_load`."""
    failed = len(load.failures)
    visits = failed + sum(load.seen.values())
    say(f"  {'!' if failed else '-'} {failed} of {visits} visits failed", "33" if failed else "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_images(engine: docker.DockerClient, port: int) -> list[str]:
    """The images on the engine that the demo made or pulled."""
    labelled = engine.api.images(filters={"label": f"branchline:platform={NAME}"})
    names = [name for row in engine.api.images() for name in row["RepoTags"] or ()]
    ours = (f"127.0.0.1:{port}/", f"branchline.{NAME}/", BASE)
    return [row["Id"] for row in labelled] + [name for name in names if name.startswith(ours)]


def prove_that_the_machine_is_clean(engine: docker.DockerClient, port: int, home: Path) -> None:
    chapter("What is left on this machine")
    containers = Emulator(port).containers(engine)
    claim(not containers, "no container of the demo")
    claim(not own_images(engine, port), "no image of it, neither built nor pulled")
    claim(not Emulator(port).answers() and not home.exists(), "no process, and no file")


def interrupt(_number: int, _frame: object) -> NoReturn:
    """Whatever ends the demo early is a Ctrl-C to it, so that what it started ends too."""
    ignore_interrupts()
    raise KeyboardInterrupt


def ignore_interrupts() -> None:
    """From now on all ends in order, and impatience must not leave anything behind."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    begun = time.monotonic()
    engine, port = docker.from_env(), free_port()
    chapter("AWS, on this machine")
    explain(
        "MiniStack stands in for AWS. The API, the registry and the load balancer are its own, and each task of ECS is"
        " a real container on this machine's Docker Engine."
    )
    home = Path(tempfile.mkdtemp(prefix=f"branchline-{NAME}-"))
    try:
        engine.api.import_image_from_data(base_image(), repository=BASE, tag="latest")
        directory = home / "ministack"
        directory.mkdir()
        with SlackStandIn() as slack, emulator.running(port, directory) as aws:
            story = Story(aws, home, engine, slack)
            try:
                story.tell()
            finally:
                ignore_interrupts()
    finally:
        for image in own_images(engine, port):
            with suppress(docker.errors.ImageNotFound):
                engine.api.remove_image(image, force=True)
        shutil.rmtree(home, ignore_errors=True)
    prove_that_the_machine_is_clean(engine, port, home)
    chapter("How long it took")
    for what, seconds in story.took.items():
        say(f"  {what:<32} {seconds:5.1f} s")
    say(f"  {'all of it':<32} {time.monotonic() - begun:5.1f} s", "1")
    explain(
        "On this machine, from the start of the command to its end. On AWS, a task takes longer to start and to become"
        " healthy: docs/benchmarks.md."
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; everything that the demo had started is gone")
