"""An application on a platform of the test's own, behind a proxy that can let calls to AWS fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from branchline import lifecycle
from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, rollout
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.environment import EnvironmentId
from branchline.events import Event, Ready
from branchline.ports import Platform, Push
from branchline.settings.platform import Ecs
from tests.aws import proxy, sweep
from tests.aws.base import make_base
from tests.aws.conftest import MiniStack
from tests.aws.direct import platform_of, push_of
from tests.aws.proxy import Proxy
from tests.repositories import Repo
from tests.waiting import eventually

_EARLIER = 2 * 3600
"""Seconds, by which no two clocks differ."""
SERVING = Counter(
    {"service": 1, "task-definition": 1, "targetgroup": 1, "listener-rule": 1, "log": 1, "image": 1, "record": 1}
)
"""All that a release has which is the first one, or was made in place of one that is gone."""
KEPT = Counter({"task-definition": 1, "image": 1})
"""What is kept of the release before."""


def nothing(_: Event) -> None:
    """Hears events and does nothing about them."""


@dataclass(frozen=True)
class Shop:
    """One branch of the application. Each operation is done as by a command of its own."""

    repo: Repo
    base: Base
    aws: Aws
    ministack: MiniStack
    proxy: Proxy
    state: Path
    zone: str
    """The hosted zone, in which each host has a record."""

    @property
    def environment(self) -> EnvironmentId:
        return EnvironmentId(self.base.platform, "shop", "main")

    def platform(self) -> Platform:
        """With nothing known from before."""
        return platform_of(self.base.platform, self.ministack, self.aws, str(self.state))

    def elsewhere(self, state: Path) -> Shop:
        """The same as another process sees it, with connections of its own."""
        return replace(self, aws=Aws(Ecs()), state=state)

    def push(self) -> Push:
        """The branch's latest commit."""
        return push_of(self.base.platform, self.repo)

    def commit(self, text: str) -> str:
        """Makes another commit, which answers `text`."""
        return self.repo.commit(text, {"index.html": text})

    def deploy(self) -> Ready:
        return lifecycle.deploy(self.platform(), self.push(), nothing, Cancellation())

    def rollback(self) -> Ready:
        return lifecycle.rollback(self.platform(), self.environment, nothing, Cancellation(), None)

    def destroy(self) -> None:
        lifecycle.destroy(self.platform(), self.environment, nothing, Cancellation())

    def answer(self) -> str:
        """What a visitor gets."""
        url = self.ministack.load_balancer.replace("{name}", self.base.load_balancer.name)
        answer = httpx.get(f"{url}/", headers={"Host": f"main--shop.{self.base.domain}"}, timeout=30)
        return answer.text if answer.status_code == 200 else f"status {answer.status_code}"

    def there(self) -> list[str]:
        """All that there is, but for tasks, which take their time to stop."""
        records = self.aws.route53.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        hosts = [f"record {record['Name']}" for record in records if record["Type"] == "A"]
        return [each for each in [*sweep.everything(self.aws, self.base), *hosts] if ":task/" not in each]

    def kinds(self) -> Counter[str]:
        """How many there are of each kind."""
        return Counter(map(_kind, self.there()))

    def is_gone(self) -> None:
        """Returns if nothing is left."""
        assert not self.there(), self.there()

        def all_ended() -> bool:
            left = sweep.everything(self.aws, self.base)
            assert not left, left
            return True

        eventually(all_ended, "its tasks have stopped", timeout=30)

    def hours_pass(self) -> None:
        """Lets what is under way come to its end, and whoever had the turn and died be dead for everybody at once.

        Others would watch it for a time, in which a rollout ends; the emulator forgets tasks when rollouts meet.
        """
        self.proxy.settle()
        eventually(self._rolled_out, "nothing is being rolled out", timeout=30)
        table = names.lease_table(self.base.platform)
        for item in self.aws.dynamodb.scan(TableName=table)["Items"]:
            if "holder" in item:
                self.aws.dynamodb.update_item(
                    TableName=table,
                    Key={"environment": item["environment"]},
                    UpdateExpression="SET holder.valid_until = holder.valid_until - :then",
                    ExpressionAttributeValues={":then": {"N": str(_EARLIER)}},
                )

    def _rolled_out(self) -> bool:
        name = names.service(self.environment)
        described = self.aws.ecs.describe_services(cluster=names.cluster(self.base.platform), services=[name])
        return all(
            service.get("runningCount") == service.get("desiredCount") and len(service.get("deployments", ())) == 1
            for service in described["services"]
            if service.get("status") == "ACTIVE"
        )


def _kind(what: str) -> str:
    if what.startswith("arn:"):
        return what.split(":", 5)[5].partition("/")[0]
    if what.startswith("/branchline/"):
        return "log"
    if what.startswith("branchline."):
        return "image"
    return what.partition(" ")[0]


def _let_the_emulator_use_https(aws: Aws, base: Base) -> None:
    """Its one way in leads to the listener of port 80, which redirects, or else to the only one."""
    for listener in aws.elb.describe_listeners(LoadBalancerArn=base.load_balancer.arn)["Listeners"]:
        if listener.get("Port") == 80:
            aws.elb.delete_listener(ListenerArn=listener.get("ListenerArn", ""))


@contextmanager
def open_shop(
    ministack: MiniStack,
    repo: Repo,
    platform: str,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    """Makes the platform's base. In the end the application is destroyed, whatever became of the test."""
    with proxy.in_front_of(ministack.url) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        monkeypatch.setattr(rollout, "_POLL", rollout._FIRST_POLL)  # the emulator is quicker than AWS
        aws = Aws(Ecs())
        domain = f"{platform}.test"
        zone = aws.route53.create_hosted_zone(Name=domain, CallerReference=platform)["HostedZone"]["Id"]
        base = make_base(aws, platform, domain=domain, dns="record")
        _let_the_emulator_use_https(aws, base)
        shop = Shop(repo, base, aws, ministack, made, state, zone.rpartition("/")[2])
        try:
            yield shop
        finally:
            made.let(lambda _: None)
            shop.hours_pass()
            shop.destroy()
