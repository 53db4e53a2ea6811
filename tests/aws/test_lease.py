"""One writer per environment, whichever machines the writers are on: against a real table, by threads and processes."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from branchline.cancellation import Cancellation
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.lease import DynamoLease
from branchline.engines.ecs.lease_queue import LeaseLostError
from branchline.engines.ecs.names import lease_table
from branchline.environment import EnvironmentId, Release
from branchline.errors import ConfigurationError, DeletedError, SupersededError, TimedOutError
from branchline.events import Event, Note, Waiting
from branchline.ports import Adjustment, Change, Deletion, Push
from branchline.settings.application import Application
from branchline.source import open_repository
from tests.repositories import Repo
from tests.waiting import eventually

LONG, SHORT = 20.0, 2.0
"""Seconds until a silent process is dead: where none is to die, and where one does."""


@dataclass(frozen=True)
class Table:
    """A platform's table."""

    aws: Aws
    platform: str

    @property
    def main(self) -> EnvironmentId:
        return EnvironmentId(self.platform, "shop", "main")

    def lease(self, seconds: float = LONG) -> DynamoLease:
        return DynamoLease(self.aws, self.platform, seconds=seconds, poll=0.05, beat=0.1)

    def items(self) -> list[dict[str, Any]]:
        return self.aws.dynamodb.scan(TableName=lease_table(self.platform), ConsistentRead=True)["Items"]

    def waiting(self) -> int:
        """How many wait for the turn, of whatever environment."""
        return sum(len(item["waiting"]["M"]) for item in self.items())

    def push(self, commit: str = "a" * 40) -> Push:
        return Push(self.main, commit, Application())


def make_table(aws: Aws, platform: str) -> Table:
    aws.dynamodb.create_table(
        TableName=lease_table(platform),
        KeySchema=[{"AttributeName": "environment", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "environment", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.dynamodb.get_waiter("table_exists").wait(TableName=lease_table(platform))
    return Table(aws, platform)


@pytest.fixture
def table(aws_account: Aws, ecs_platform: str) -> Table:
    return make_table(aws_account, ecs_platform)


@pytest.fixture(params=["aws_account", "moto_aws"])
def any_table(request: pytest.FixtureRequest, ecs_platform: str) -> Table:
    """On either emulator."""
    return make_table(request.getfixturevalue(request.param), ecs_platform)


@pytest.fixture
def commits(repository: Callable[..., Repo], table: Table) -> tuple[Push, Push]:
    """Pushes of an older and of a newer commit, by what git says."""
    repo = repository({"file": "old"})
    older, newer = repo.head, repo.commit(files={"file": "new"})
    push = replace(table.push(older), source=open_repository(str(repo.path), Path("/nowhere/needed")))
    return push, replace(push, commit=newer)


def ignore(_: Event) -> None:
    pass


@contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


def work_until_cancelled(lease: DynamoLease, change: Change, publish: Callable[[Event], None] = ignore) -> None:
    """What a deploy does that never ends by itself; at most for half a minute."""
    cancellation = Cancellation()
    with lease.turn(change, cancellation, publish):
        cancellation.wait(30)
    raise AssertionError("nobody cancelled it")


def take(lease: DynamoLease, change: Change) -> float:
    """Has a turn, and returns how many seconds it waited for it."""
    begun = time.monotonic()
    with lease.turn(change, Cancellation(), ignore):
        return time.monotonic() - begun


_PROCESS = """
import sys
from branchline.cancellation import Cancellation
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.lease import DynamoLease
from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError
from branchline.ports import Adjustment, Deletion, Push
from branchline.settings.application import Application
from branchline.settings.platform import Ecs

platform, kind, commit, seconds = sys.argv[1:]
environment = EnvironmentId(platform, "shop", "main")
change = Push(environment, commit, Application()) if kind == "push" else Deletion(environment)
cancellation = Cancellation()
try:
    lease = DynamoLease(Aws(Ecs()), platform, seconds=float(seconds), poll=0.05)
    with lease.turn(change, cancellation, lambda event: print("waits", flush=True)):
        print("works", flush=True)
        while True:
            cancellation.wait(0.01)
            print("goes on", flush=True)
except BranchlineError as error:
    print(type(error).__name__, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@contextmanager
def process(table: Table, kind: str, expected: str, commit: str = "a" * 40) -> Iterator[subprocess.Popen[str]]:
    """Another process that wants a turn; it has said `expected`, which is `works` or `waits`."""
    command = [sys.executable, "-c", _PROCESS, table.platform, kind, commit, str(SHORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == f"{expected}\n"
            yield started
        finally:
            started.kill()


# One turn


def test_a_turn_that_nobody_else_wants_costs_two_calls_and_leaves_nothing(any_table: Table) -> None:
    lease = any_table.lease()
    any_table.aws.calls.clear()
    with (
        lease.turn(any_table.push(), Cancellation(), ignore),
        lease.slot(any_table.main, Cancellation(), ignore),
    ):
        record = lease.record(any_table.main)
    assert any_table.aws.calls == {"dynamodb:UpdateItem": 1, "dynamodb:DeleteItem": 1}
    assert any_table.items() == []
    assert record is not None
    assert (record.held, record.unclean, record.failed) == (True, False, None)


def test_others_see_the_push_that_has_its_turn_by_one_call(any_table: Table) -> None:
    other = any_table.lease()
    with any_table.lease().turn(any_table.push(), Cancellation(), ignore):
        any_table.aws.calls.clear()
        record = other.record(any_table.main)
        assert any_table.aws.calls == {"dynamodb:GetItem": 1}
        assert [record] == other.records("shop")
    assert record is not None
    assert record.held
    assert record.deploying is not None
    assert (record.deploying.commit, record.deploying.number) == ("a" * 40, 0)
    assert abs(datetime.now(UTC) - record.deploying.created).total_seconds() < 30
    assert other.record(any_table.main) is None


def test_a_failure_stays_on_record_until_a_release_succeeds(any_table: Table) -> None:
    lease = any_table.lease()
    branch = b"caf\xe9".decode("utf-8", "surrogateescape")
    environment = EnvironmentId(any_table.platform, "shop", branch)
    push = replace(any_table.push(), environment=environment)
    failed = Release(environment, 3, push.commit, datetime.now(UTC), "an image", "exited with code 1")
    any_table.aws.calls.clear()
    with lease.turn(push, Cancellation(), ignore):
        lease.note_failure(environment, failed, "a.host", "https://forge.example/team/shop")
    assert any_table.aws.calls == {"dynamodb:UpdateItem": 2}
    record = lease.record(environment)
    assert record is not None
    assert (record.held, record.deploying, record.failed) == (False, None, failed)
    assert (record.host, record.repository) == ("a.host", "https://forge.example/team/shop")
    assert lease.records(None) == lease.records("shop") == [record]
    assert lease.records("other") == []
    with lease.turn(Adjustment(environment), Cancellation(), ignore):
        pass
    assert lease.record(environment) == record
    with lease.turn(push, Cancellation(), ignore):
        within = lease.record(environment)
        assert within is not None
        assert within.failed == failed
        lease.note_success(environment)
    assert any_table.items() == []


def test_the_record_of_a_failure_goes_with_its_environment(any_table: Table) -> None:
    lease = any_table.lease()
    with lease.turn(any_table.push(), Cancellation(), ignore):
        lease.note_failure(any_table.main, Release(any_table.main, 1, "a" * 40, datetime.now(UTC)), "a.host")
    with lease.turn(Deletion(any_table.main), Cancellation(), ignore):
        lease.forget(any_table.main)
    assert any_table.items() == []


def test_who_leaves_things_unclean_is_heard_of_until_somebody_has_cleaned_up(any_table: Table) -> None:
    lease = any_table.lease()
    with lease.turn(any_table.push(), Cancellation(), ignore):
        lease.note_unclean(any_table.main)
        lease.note_success(any_table.main)
    for _ in range(2):  # whoever only looks doesn't end it
        with lease.turn(any_table.push(), Cancellation(), ignore):
            record = lease.record(any_table.main)
            assert record is not None
            assert record.unclean
    with lease.turn(Adjustment(any_table.main), Cancellation(), ignore):
        lease.note_clean(any_table.main)
    assert any_table.items() == []


def test_an_item_is_kept_for_months_so_that_dynamodb_removes_none_whose_turn_is_on(any_table: Table) -> None:
    with any_table.lease().turn(any_table.push(), Cancellation(), ignore):
        (item,) = any_table.items()
    assert int(item["expires_at"]["N"]) > time.time() + 80 * 24 * 3600


def test_a_list_of_many_pages_is_complete(moto_aws: Aws, ecs_platform: str) -> None:
    """MiniStack has everything on one page."""
    any_table = make_table(moto_aws, ecs_platform)
    lease = any_table.lease()
    names = [f"branch-{number}" for number in range(5)]
    for name in names:
        environment = EnvironmentId(any_table.platform, "shop", name)
        with lease.turn(Adjustment(environment), Cancellation(), ignore):
            failed = Release(environment, 1, "a" * 40, datetime.now(UTC), failure="x" * 350_000)
            lease.note_failure(environment, failed, "a.host")
    any_table.aws.calls.clear()
    assert sorted(record.environment.branch for record in lease.records("shop")) == names
    assert any_table.aws.calls["dynamodb:Scan"] > 1  # a page is 1 MB


def test_without_its_table_the_platform_has_no_base(aws_account: Aws, ecs_platform: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        take(Table(aws_account, ecs_platform).lease(), Adjustment(EnvironmentId(ecs_platform, "shop", "main")))
    assert f"its table branchline-{ecs_platform} is missing" in caught.value.message
    assert caught.value.remedy == "run 'branchline aws bootstrap'"


# Several at once


def test_threads_never_have_their_turns_at_the_same_time(table: Table) -> None:
    lease, count = table.lease(), 0

    def add(change: Change) -> None:
        nonlocal count
        with lease.turn(change, Cancellation(), ignore):
            before = count
            time.sleep(0.005)
            count = before + 1

    changes = [Adjustment(table.main), table.push()] * 15
    with ThreadPoolExecutor(len(changes)) as pool:
        list(pool.map(add, changes))
    assert count == 30
    assert table.items() == []


def test_a_newer_push_cancels_the_one_in_flight_within_three_seconds_by_default(table: Table) -> None:
    slow = DynamoLease(table.aws, table.platform)
    with in_background(lambda: work_until_cancelled(slow, table.push("1" * 40))) as first:
        eventually(table.items, "the first push has its turn")
        told: list[Event] = []
        begun = time.monotonic()
        with DynamoLease(table.aws, table.platform).turn(table.push("2" * 40), Cancellation(), told.append):
            assert time.monotonic() - begun < 4  # it looks each second whether the turn is free
        with pytest.raises(SupersededError, match=f"{'1' * 12} of main is superseded by the newer commit {'2' * 12}"):
            first.result()
    assert told == [Waiting(table.main, "another deploy of it is running")]
    assert table.items() == []


def test_an_older_commit_gives_way_to_the_one_that_is_on_its_way(table: Table, commits: tuple[Push, Push]) -> None:
    older, newer = commits
    lease = table.lease(SHORT)
    with lease.turn(newer, cancellation := Cancellation(), ignore):
        with pytest.raises(SupersededError):
            take(lease, older)
        cancellation.check()
        assert table.waiting() == 0


def test_an_older_commit_gives_way_to_the_one_that_waits(table: Table, commits: tuple[Push, Push]) -> None:
    older, newer = commits
    lease = table.lease(SHORT)
    with ThreadPoolExecutor(2) as pool:
        with lease.turn(Deletion(table.main), Cancellation(), ignore):
            waiting = pool.submit(take, lease, newer)
            eventually(lambda: table.waiting() == 1, "the newer one waits")
            with pytest.raises(SupersededError):
                take(lease, older)
        waiting.result()


def test_an_older_commit_takes_over_by_force(table: Table, commits: tuple[Push, Push]) -> None:
    older, newer = commits
    lease = table.lease()
    with in_background(lambda: work_until_cancelled(lease, newer)) as first:
        eventually(table.items, "the newer one has its turn")
        take(lease, replace(older, force=True))
        with pytest.raises(SupersededError):
            first.result()


def test_the_same_commit_waits_for_its_twin(table: Table) -> None:
    lease = table.lease()
    with ThreadPoolExecutor(1) as pool:
        with lease.turn(table.push(), cancellation := Cancellation(), ignore):
            twin = pool.submit(take, lease, table.push())
            eventually(lambda: table.waiting() == 1, "the twin waits")
            cancellation.wait(0.5)  # longer than it takes to hear of it
        assert twin.result() > 0.4


def test_work_that_is_no_change_of_the_branch_only_waits(table: Table) -> None:
    lease = table.lease()
    with ThreadPoolExecutor(1) as pool:
        with lease.turn(table.push(), cancellation := Cancellation(), ignore):
            other = pool.submit(take, lease, Adjustment(table.main))
            cancellation.wait(0.5)
            assert not other.done()
        other.result()
    with ThreadPoolExecutor(1) as pool:
        with lease.turn(Adjustment(table.main), cancellation := Cancellation(), ignore):
            push = pool.submit(take, lease, table.push())
            cancellation.wait(0.5)
        push.result()


@pytest.mark.parametrize("arrivals", [*map("".join, itertools.permutations("12-")), "1--", "-1-", "--1", "1-1"])
def test_whatever_came_last_decides_what_there_is_in_the_end(table: Table, arrivals: str) -> None:
    """`1` and `2` are pushes of two commits that know nothing of each other, `-` is a deletion."""
    lease, there, busy = table.lease(), "", 0

    def come(what: str) -> None:
        nonlocal there, busy
        cancellation = Cancellation()
        change = Deletion(table.main) if what == "-" else table.push(what * 40)
        with lease.turn(change, cancellation, ignore):
            busy += 1
            assert busy == 1
            try:
                cancellation.wait(0.3)
                there = "" if what == "-" else what
            finally:
                busy -= 1

    with ThreadPoolExecutor(3) as pool:
        running: list[Future[None]] = []
        for what in arrivals:
            before = latest(table)
            running.append(pool.submit(come, what))
            eventually(lambda b=before: latest(table) not in ("", b), "it has come", interval=0.01)
        for item in running:
            assert isinstance(item.exception(), SupersededError | DeletedError | None), item.exception()
    assert running[-1].exception() is None
    assert there == arrivals[-1].strip("-")
    assert table.items() == []


def latest(table: Table) -> str:
    """Which push or deletion came last; '' where that isn't on record any more."""
    return next((item["latest"]["M"]["id"]["S"] for item in table.items() if "latest" in item), "")


# Dead, silent and interrupted


def test_a_killed_process_gives_its_turn_to_whoever_waits_and_is_known_to_have_left_things(table: Table) -> None:
    lease = table.lease(SHORT)
    with (
        process(table, "push", "works") as holder,
        in_background(lambda: take(lease, Adjustment(table.main))) as waiter,
    ):
        killed = time.monotonic()
        holder.kill()
        waiter.result()
        assert SHORT - 0.5 < time.monotonic() - killed < SHORT + 3
    with lease.turn(table.push(), Cancellation(), ignore):
        record = lease.record(table.main)
        assert record is not None
        assert record.unclean
        lease.note_success(table.main)
    assert table.items() == []


def test_a_turn_whose_process_died_hours_ago_is_taken_at_once(table: Table) -> None:
    with process(table, "push", "works") as holder:
        holder.kill()
    table.aws.dynamodb.update_item(
        TableName=lease_table(table.platform),
        Key={"environment": {"S": "shop/main"}},
        UpdateExpression="SET holder.valid_until = :then",
        ExpressionAttributeValues={":then": {"N": str(round(time.time() - 7200))}},
    )
    table.aws.calls.clear()
    lease = table.lease()
    with lease.turn(table.push(), Cancellation(), ignore):
        record = lease.record(table.main)
        assert table.aws.calls == {"dynamodb:UpdateItem": 2}
        assert record is not None
        assert record.unclean
        lease.note_clean(table.main)
    assert table.items() == []


def test_those_who_were_killed_while_they_waited_keep_nobody_waiting_for_ever(
    table: Table, commits: tuple[Push, Push]
) -> None:
    older, newer = commits
    lease = table.lease(SHORT)
    with (
        lease.turn(Adjustment(table.main), Cancellation(), ignore),
        process(table, "deletion", "waits") as deletion,
        process(table, "push", "waits", newer.commit) as push,
    ):
        eventually(lambda: table.waiting() == 2, "both wait")
        deletion.kill()
        push.kill()
    assert SHORT - 0.5 < take(lease, older) < SHORT * 2 + 3
    assert table.items() == []


def test_a_process_that_was_suspended_finds_that_its_turn_is_lost_and_leaves_the_new_one_alone(table: Table) -> None:
    lease = table.lease(SHORT)
    with process(table, "push", "works") as holder:
        assert holder.stdout is not None
        holder.send_signal(signal.SIGSTOP)
        with lease.turn(table.push(), cancellation := Cancellation(), ignore):
            holder.send_signal(signal.SIGCONT)
            said = holder.stdout.read().splitlines()
            assert holder.wait(10) == 0
            cancellation.wait(0.5)
            record = table.lease().record(table.main)
            assert record is not None
            assert record.held
            lease.note_clean(table.main)
    assert said[-1] == "LeaseLostError"
    assert table.items() == []


def test_signs_of_life_keep_a_turn_for_as_long_as_it_takes(table: Table) -> None:
    lease = table.lease(SHORT)
    with ThreadPoolExecutor(1) as pool:
        with lease.turn(Adjustment(table.main), cancellation := Cancellation(), ignore):
            other = pool.submit(take, lease, Adjustment(table.main))
            cancellation.wait(SHORT * 1.7)
            assert not other.done()
        assert other.result() > SHORT * 1.5


def test_a_turn_without_signs_of_life_ends_its_own_work_before_others_have_it(table: Table) -> None:
    lease = table.lease(SHORT)
    begun, said = time.monotonic(), r"lost the lease of main of shop: no sign of life arrived in time: .* is missing"
    with (
        pytest.raises(LeaseLostError, match=said),
        lease.turn(table.push(), cancellation := Cancellation(), ignore),
    ):
        table.aws.dynamodb.delete_table(TableName=lease_table(table.platform))
        cancellation.wait(30)
    assert time.monotonic() - begun < SHORT


def test_a_turn_that_was_taken_away_ends_its_work(table: Table) -> None:
    lease = table.lease()
    with (
        pytest.raises(LeaseLostError, match="somebody else has the turn now"),
        lease.turn(table.push(), cancellation := Cancellation(), ignore),
    ):
        assert lease.holds(table.main)
        table.aws.dynamodb.delete_item(TableName=lease_table(table.platform), Key={"environment": {"S": "shop/main"}})
        try:
            cancellation.wait(30)
        finally:
            assert not lease.holds(table.main)


def test_a_turn_that_cannot_be_given_back_is_no_failure_of_its_work(table: Table) -> None:
    told: list[Event] = []
    with table.lease().turn(table.push(), Cancellation(), told.append):
        table.aws.dynamodb.delete_table(TableName=lease_table(table.platform))
    (note,) = told
    assert isinstance(note, Note)
    assert note.warning
    assert note.text.endswith("whoever comes next waits 20 s longer")


def test_a_call_whose_answer_was_lost_is_recognised_as_our_own(any_table: Table) -> None:
    """As botocore does it when no answer comes, every write is sent twice."""
    events = any_table.aws.dynamodb.meta.events
    sent = 0

    def send_before(request: Any, **_: Any) -> None:
        nonlocal sent
        sent += 1
        httpx.request(request.method, request.url, headers=dict(request.headers), content=request.body)

    for operation in ("UpdateItem", "DeleteItem"):
        events.register(f"before-send.dynamodb.{operation}", send_before)
    lease = any_table.lease()
    failed = Release(any_table.main, 1, "a" * 40, datetime.now(UTC))
    with lease.turn(any_table.push(), Cancellation(), ignore):
        lease.note_failure(any_table.main, failed, "a.host")
    with ThreadPoolExecutor(1) as pool:
        with lease.turn(any_table.push(), cancellation := Cancellation(), ignore):
            record = lease.record(any_table.main)
            assert record is not None
            assert (record.failed, record.unclean) == (failed, False)
            deletion = pool.submit(take, lease, Deletion(any_table.main))
            with pytest.raises(DeletedError):
                cancellation.wait(30)
            lease.forget(any_table.main)
        deletion.result()
    assert any_table.items() == []
    assert sent >= 7


@pytest.mark.parametrize("expected", ["works", "waits"])
def test_an_interrupted_process_leaves_its_turn_or_its_place_at_once(table: Table, expected: str) -> None:
    def interrupt(wanted: str) -> None:
        with process(table, "push", wanted) as other:
            assert other.stdout is not None
            if wanted == "waits":
                eventually(lambda: table.waiting() == 1, "it waits")
            other.send_signal(signal.SIGINT)
            assert other.stdout.read().endswith("interrupted\n")

    if expected == "works":
        interrupt("works")
    else:
        with table.lease().turn(Adjustment(table.main), Cancellation(), ignore):
            interrupt("waits")
            assert table.waiting() == 0
    assert table.items() == []


def test_a_deploy_that_is_out_of_time_while_it_waits_leaves_its_place(table: Table) -> None:
    lease = table.lease()
    with lease.turn(Adjustment(table.main), Cancellation(), ignore):
        cancellation = Cancellation()
        with pytest.raises(TimedOutError), cancellation.deadline(0.3), lease.turn(table.push(), cancellation, ignore):
            raise AssertionError("it had its turn")
        assert table.waiting() == 0


def test_the_threads_of_a_turn_end_with_it(table: Table) -> None:
    lease = table.lease(SHORT)
    for _ in range(3):
        take(lease, table.push())
    eventually(lambda: all(thread.name != "lease" for thread in threading.enumerate()), "they have ended")
