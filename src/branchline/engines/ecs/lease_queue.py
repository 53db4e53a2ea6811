"""How a change comes to its turn at an environment."""

from __future__ import annotations

import time

from branchline.cancellation import Cancellation
from branchline.engines.ecs.lease_records import Beats, Claim, Item, may_take, since_boot
from branchline.engines.ecs.lease_table import Answer, LeaseTable
from branchline.engines.ecs.parallel import uninterrupted
from branchline.environment import EnvironmentId
from branchline.errors import EngineError
from branchline.events import Publish, Waiting
from branchline.ports import Adjustment, Change, Deletion, Push
from branchline.precedence import gives_way, overtaken, superseded


class LeaseLostError(EngineError):
    """An environment's turn, or the place among those who wait for it, was lost: no sign of life arrived in time."""


def lost(environment: EnvironmentId, why: str) -> LeaseLostError:
    """The word for it."""
    return LeaseLostError(
        f"lost the lease of {environment.branch} of {environment.project}: {why}",
        remedy="run it again: it goes on from what is there",
    )


class Waiter:
    """A change that wants its turn."""

    def __init__(
        self,
        table: LeaseTable,
        change: Change,
        claim: Claim,
        beats: Beats,
        poll: float,
        cancellation: Cancellation,
        publish: Publish,
    ) -> None:
        self._table = table
        self._change = change
        self._environment = change.environment
        self._claim = claim
        self._beats = beats
        self._poll = poll
        self._cancellation = cancellation
        self._publish = publish
        self._told = False
        self._registered = False
        """Whether the item says that this change waits."""
        self._newer: Claim | None = None
        """A newer commit's claim that this older commit gives way to, if it lives."""

    def wait(self) -> tuple[Item, float]:
        """Takes the turn as soon as it is free.

        Returns what the item says then, and when the call was sent that took the turn, by the clock `since_boot`.

        Raises:
            SupersededError, DeletedError: see `ports.Lease.turn`.
            LeaseLostError: others took this process for dead while it waited.
        """
        sent = since_boot()
        answer = uninterrupted(lambda: self._table.claim(self._environment, self._claim))
        # A call whose answer was lost is sent again, and then finds that the turn is taken: by itself.
        while not (answer.done or (answer.item.holder is not None and answer.item.holder.id == self._claim.id)):
            sent = since_boot()
            answer = self._step(answer.item)
        return answer.item, sent

    def _step(self, item: Item) -> Answer:
        """Takes the turn where the item allows it, otherwise puts itself down there, or waits a little.

        Answers with what the item says then.
        """
        self._cancellation.check()
        present = self._claim.id in item.waiting
        if self._registered and not present:
            raise lost(self._environment, "others took this process for dead while it waited")
        self._registered = present
        self._beats.see(item)
        now = time.time()
        if not (isinstance(self._change, Push) and self._gives_way(self._change, item, now)):
            dead = [other for other in item.claims if self._beats.dead(other, now)]
            if may_take(self._claim, item, dead):
                return uninterrupted(
                    lambda: self._table.take(self._environment, self._claim, item, dead, is_new=not present)
                )
            if not present and not isinstance(self._change, Adjustment):
                return Answer(False, self._table.enter(self._environment, self._claim, item))
        self._tell()
        self._cancellation.wait(self._poll)
        if present:
            return Answer(False, self._table.beat_waiting(self._environment, self._claim))
        return Answer(False, self._table.read(self._environment) or Item())

    def _gives_way(self, push: Push, item: Item, now: float) -> bool:
        """Whether the push is an older commit than the one on its way, of which it isn't known yet whether it lives.

        Once it is known, or where a later change has come, this ends the push.
        """
        if self._registered:
            if item.latest is not None and item.latest.id != self._claim.id:
                reason = overtaken(push, item.latest.commit)
                if reason is not None:
                    self._cancellation.cancel(reason)
                    self._cancellation.check()
            return False
        newest = next((other for other in item.claims if item.latest and other.id == item.latest.id), None)
        if self._newer is not None and newest != self._newer:
            raise superseded(push, self._newer.commit)  # it gave a sign of life, or came to its end
        older = newest is not None and not self._beats.dead(newest, now) and gives_way(push, newest.commit)
        self._newer = newest if older else None
        return older

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            deletes = isinstance(self._change, Deletion)
            why = "its deploy is being ended" if deletes else "another deploy of it is running"
            self._publish(Waiting(self._environment, why))
