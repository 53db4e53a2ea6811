"""One writer per environment, whichever machines the writers are on: an item in DynamoDB for whoever has the turn.

A turn that nobody else wants costs two calls: one takes it, and answers with what the last one left on record; the
other ends it, and writes what this one leaves. In between, a thread gives a sign of life every few seconds, and reads
by the same call who came later. A push gives up when that is a newer commit or a deletion.

Nobody is asked whether a process lives; see `lease_records`. The turn of a process that was killed goes to whoever
comes next, `seconds` after that one first looked, and that one is told that things may lie about
(`LeaseRecord.unclean`). A process that can't give a sign of life, because it was suspended or has lost the network,
ends its own work after two thirds of `seconds`, by a clock of its own: before anybody else has its turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace

from branchline.cancellation import Cancellation
from branchline.engines.ecs.aws import Aws, AwsError
from branchline.engines.ecs.lease_queue import LeaseLostError, Waiter, lost
from branchline.engines.ecs.lease_records import (
    Beats,
    Claim,
    Failure,
    Item,
    Kind,
    LeaseRecord,
    claim_of,
    record_of,
    since_boot,
)
from branchline.engines.ecs.lease_table import LeaseTable
from branchline.environment import EnvironmentId, Release
from branchline.errors import BranchlineError, ConfigurationError
from branchline.events import Note, Publish
from branchline.ports import Change, Push
from branchline.precedence import destroyed, overtaken


class DynamoLease:
    """The leases of one platform, in a table that all its writers share."""

    def __init__(self, aws: Aws, platform: str, *, seconds: float = 30, poll: float = 1.0, beat: float = 2.0) -> None:
        """Times are in seconds.

        Args:
            aws: the account and region.
            platform: whose table.
            seconds: a process that is silent for so long is dead.
            poll: between two looks of who waits.
            beat: between two signs of life of who has a turn, and so how late it hears of a later change.
        """
        self._table = LeaseTable(aws, platform, seconds)
        self._seconds = seconds
        self._poll = min(poll, seconds / 6)
        self._beat = min(beat, seconds / 6)
        self._lock = threading.Lock()
        self._turns: dict[EnvironmentId, _Turn] = {}

    @contextmanager
    def turn(self, change: Change, cancellation: Cancellation, publish: Publish) -> Generator[None]:
        """See `ports.Lease.turn`.

        Raises:
            LeaseLostError: the turn was lost before its end; `cancellation` is cancelled with it, too.
            ConfigurationError: the platform has no table.
        """
        environment, claim = change.environment, claim_of(change)
        try:
            beats = Beats(self._seconds)
            item, sent = Waiter(self._table, change, claim, beats, self._poll, cancellation, publish).wait()
        except (AwsError, ConfigurationError):
            raise  # nobody answers there, so what may be left of us goes stale
        except BaseException:
            with suppress(BranchlineError):
                self._table.leave(environment, claim)
            raise
        turn = _Turn(self._table, change, claim, item, sent, self._seconds, self._beat, cancellation)
        try:
            with self._lock:
                self._turns[environment] = turn
            turn.start()
            cancellation.check()
            yield
            turn.check()
        finally:
            turn.ended.set()
            with self._lock:
                self._turns.pop(environment, None)
            if turn.lost is None:
                self._release(turn, publish)

    def _release(self, turn: _Turn, publish: Publish) -> None:
        """What fails here fails nobody's work: the lease goes stale by itself."""
        try:
            self._table.release(turn.environment, turn.claim, turn.failure, unclean=turn.unclean)
        except BranchlineError as error:
            text = f"{error.message}; whoever comes next waits {self._seconds:g} s longer"
            publish(Note(turn.environment, text, warning=True))

    @contextmanager
    def slot(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> Generator[None]:
        """See `ports.Lease.slot`. There is no limit: a cluster has no machine that too many deploys would slow down."""
        del environment, publish
        cancellation.check()
        yield

    def holds(self, environment: EnvironmentId) -> bool:
        """Whether this process has the environment's turn and hasn't lost it: only then may it clean up. No call."""
        with self._lock:
            turn = self._turns.get(environment)
        return turn is not None and turn.kept

    def record(self, environment: EnvironmentId) -> LeaseRecord | None:
        """What is on record of an environment, or None where nothing is. Within our own turn it costs no call."""
        with self._lock:
            turn = self._turns.get(environment)
        item = turn.item if turn is not None else self._table.read(environment)
        return record_of(environment, item, time.time()) if item is not None else None

    def records(self, project: str | None) -> list[LeaseRecord]:
        """What is on record of the platform's environments, or of those of one of its projects."""
        now = time.time()
        found = self._table.scan(project).items()
        return [record for environment, item in found if (record := record_of(environment, item, now)) is not None]

    def note_failure(self, environment: EnvironmentId, release: Release, host: str, repository: str = "") -> None:
        """Within a turn: a release failed. It is on record from the end of the turn until a later one succeeds."""
        self._turns[environment].failure = Failure(release, host, repository)

    def note_success(self, environment: EnvironmentId) -> None:
        """Within a turn: a release serves, so no failure is on record, and what a dead predecessor left is gone."""
        self._turns[environment].failure = None
        self.note_clean(environment)

    def note_clean(self, environment: EnvironmentId) -> None:
        """Within a turn: what an unclean predecessor left is gone. Until somebody says so, every successor is told."""
        self._turns[environment].found_unclean = False

    def note_unclean(self, environment: EnvironmentId) -> None:
        """Within a turn: this one couldn't clean up after itself. That stands, whatever else is noted in the turn."""
        self._turns[environment].leaves_unclean = True

    def forget(self, environment: EnvironmentId) -> None:
        """Within a turn: the environment is gone. So is its item at the end of the turn, unless somebody waits."""
        self.note_success(environment)


class _Turn:
    """Somebody's turn at an environment: gives signs of life until it ends, and ends the work that it was for if it is
    lost or a later change wants the environment."""

    def __init__(
        self,
        table: LeaseTable,
        change: Change,
        claim: Claim,
        found: Item,
        sent: float,
        seconds: float,
        beat: float,
        cancellation: Cancellation,
    ) -> None:
        self.environment = change.environment
        self.claim = claim
        self.ended = threading.Event()
        self.lost: LeaseLostError | None = None
        self.failure = found.failure
        self.found_unclean = found.unclean
        self.leaves_unclean = False
        self._table = table
        self._change = change
        self._seconds = seconds
        self._interval = beat
        self._cancellation = cancellation
        self._alive = sent
        """When the last sign of life was sent that has arrived. Others may have seen it as early as that."""
        self._trouble = ""

    @property
    def kept(self) -> bool:
        """Whether it is still ours."""
        return self.lost is None and not self._overdue()

    @property
    def unclean(self) -> bool:
        """What the next one is told; see `LeaseRecord.unclean`."""
        return self.found_unclean or self.leaves_unclean

    @property
    def item(self) -> Item:
        """What the environment's item says, as far as it is this turn's to say."""
        holder = replace(self.claim, until=round(time.time() + self._seconds))
        return Item(holder=holder, failure=self.failure, unclean=self.unclean)

    def start(self) -> None:
        """Gives signs of life from now on."""
        if self._overdue():
            self._beat()  # the call that took the turn was sent again and again: is it ours still?
        for target in (self._give_signs, self._watch_the_clock):
            threading.Thread(target=target, name="lease", daemon=True).start()

    def check(self) -> None:
        """Returns at once, or raises that the turn was lost."""
        if self._overdue():
            self._lose(f"no sign of life arrived in time{self._trouble}")
        if self.lost is not None:
            raise self.lost

    def _overdue(self) -> bool:
        """Whether a successor could soon take this process for dead; it gets the last third to end what it does."""
        return since_boot() - self._alive > self._seconds * 2 / 3

    def _give_signs(self) -> None:
        while not self.ended.wait(self._interval):
            if self.lost is not None:
                return
            self._beat()

    def _watch_the_clock(self) -> None:
        """In a thread of its own, since a sign of life may be under way for long."""
        while self.lost is None and not self.ended.wait(min(1.0, self._seconds / 30)):
            if self._overdue():
                self._lose(f"no sign of life arrived in time{self._trouble}")

    def _beat(self) -> None:
        sent = since_boot()
        try:
            answer = self._table.beat_holding(self.environment, self.claim)
        except BranchlineError as error:
            self._trouble = f": {error.message}"
            return
        if not answer.done:
            self._lose("somebody else has the turn now")
            return
        self._alive, self._trouble = sent, ""
        self._give_way(answer.item)

    def _give_way(self, item: Item) -> None:
        """Ends a push that a later change has overtaken. A deletion that waits is one: an earlier one goes first."""
        if not isinstance(self._change, Push) or self.ended.is_set():
            return
        if any(other.kind is Kind.DELETION for other in item.waiting.values()):
            self._cancellation.cancel(destroyed(self._change))
        elif item.latest is not None and item.latest.id != self.claim.id:
            reason = overtaken(self._change, item.latest.commit)
            if reason is not None:
                self._cancellation.cancel(reason)

    def _lose(self, why: str) -> None:
        if self.ended.is_set():
            return  # the turn is over, so what was seen is its proper end
        self.lost = lost(self.environment, why)
        self._cancellation.cancel(self.lost)
