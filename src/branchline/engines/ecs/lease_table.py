"""The calls to the DynamoDB table of leases. Every write has a condition, so that it takes effect on what was seen.

A condition that isn't met answers with the item as it is, so that no second call has to read it:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from branchline.engines.ecs import names
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.lease_records import (
    BOOKMARKS,
    Claim,
    Failure,
    Item,
    Kind,
    claim_value,
    environment_of,
    failure_value,
    key_of,
    latest_value,
    read_item,
)
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef as Value
    from types_boto3_dynamodb.type_defs import UpdateItemInputTypeDef

_KEPT = 90 * 24 * 3600
"""Seconds after its last turn until DynamoDB removes an item by itself, should nobody do it. A turn ends before."""
_NOBODY_WAITS = "(attribute_not_exists(waiting) OR size(waiting) = :zero)"
_ZERO: Value = {"N": "0"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a conditional write."""

    done: bool
    """Whether its condition was met."""
    item: Item
    """What the item says now."""


class LeaseTable:
    """One platform's table. Claims are over `seconds` after their last sign of life."""

    def __init__(self, aws: Aws, platform: str, seconds: float) -> None:
        self._aws = aws
        self._platform = platform
        self._name = names.lease_table(platform)
        self._seconds = seconds

    def claim(self, environment: EnvironmentId, claim: Claim) -> Answer:
        """Takes the turn, where nobody has it; a push only where nobody waits, either."""
        condition = "attribute_not_exists(holder)"
        if claim.kind is Kind.PUSH:
            condition += f" AND {_NOBODY_WAITS}"
        values: dict[str, Value] = {":zero": _ZERO} if claim.kind is Kind.PUSH else {}
        return self._take(environment, claim, [], condition, values, is_new=True, gone=())

    def take(
        self, environment: EnvironmentId, claim: Claim, seen: Item, dead: Sequence[Claim], *, is_new: bool
    ) -> Answer:
        """Takes the turn, where nobody has it, or from a holder that is dead: then the item says `unclean`.

        Args:
            environment: whose turn.
            claim: who takes it.
            seen: the item that this was decided by; the condition is that no other change has come since.
            dead: the claims that are dead; those that wait are removed.
            is_new: whether the claim isn't waiting yet.
        """
        conditions, values = _as_seen(seen)
        sets: list[str] = []
        if seen.holder is None:
            conditions.append("attribute_not_exists(holder)")
        else:
            conditions += ["holder.id = :dead", "holder.beat = :beat"]
            sets.append("unclean = :true")
            values |= {
                ":dead": {"S": seen.holder.id},
                ":beat": {"N": str(seen.holder.beat)},
                ":true": {"BOOL": True},
            }
        gone = [other.id for other in dead if other.id in seen.waiting]
        if not is_new:
            conditions.append("attribute_exists(waiting.#n0)")
            gone.insert(0, claim.id)
        return self._take(environment, claim, sets, " AND ".join(conditions), values, is_new=is_new, gone=gone)

    def _take(
        self,
        environment: EnvironmentId,
        claim: Claim,
        sets: Sequence[str],
        condition: str,
        values: Mapping[str, Value],
        *,
        is_new: bool,
        gone: Sequence[str],
    ) -> Answer:
        sets = [*sets, "holder = :holder", "expires_at = :expires"]
        values = {**values, ":holder": claim_value(claim, self._until()), ":expires": _expiry()}
        if is_new and claim.kind is not Kind.ADJUSTMENT:
            sets.append("latest = :latest")
            values[":latest"] = latest_value(claim)
        if not gone:
            sets.append("waiting = if_not_exists(waiting, :nobody)")
            values[":nobody"] = {"M": {}}
        return self._update(
            environment,
            f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(_waiting(gone))}" if gone else ""),
            condition,
            values,
            gone,
        )

    def enter(self, environment: EnvironmentId, claim: Claim, seen: Item) -> Item:
        """Puts the claim down as waiting, and as the latest change, where none has come since `seen`.

        Returns what the item says then, such as whether that was so.
        """
        conditions, values = _as_seen(seen)
        return self._update(
            environment,
            "SET waiting.#n0 = :claim, latest = :latest",
            " AND ".join([*conditions, "attribute_exists(waiting)"]),
            values | {":claim": claim_value(claim, self._until()), ":latest": latest_value(claim)},
            [claim.id],
        ).item

    def beat_waiting(self, environment: EnvironmentId, claim: Claim) -> Item:
        """A sign of life of a claim that waits. Returns what the item says then, such as whether it waits."""
        return self._update(
            environment,
            "SET waiting.#n0.beat = waiting.#n0.beat + :one, waiting.#n0.valid_until = :until",
            "attribute_exists(waiting.#n0)",
            {":one": {"N": "1"}, ":until": {"N": str(self._until())}},
            [claim.id],
        ).item

    def beat_holding(self, environment: EnvironmentId, claim: Claim) -> Answer:
        """A sign of life of the claim that has the turn."""
        return self._update(
            environment,
            "SET holder.beat = holder.beat + :one, holder.valid_until = :until",
            "holder.id = :me",
            {":one": {"N": "1"}, ":until": {"N": str(self._until())}, ":me": {"S": claim.id}},
        )

    def leave(self, environment: EnvironmentId, claim: Claim) -> None:
        """Takes the claim back, whether it waits or has the turn. What its item says otherwise stays."""
        item = self._update(environment, "REMOVE waiting.#n0", "attribute_exists(waiting.#n0)", {}, [claim.id]).item
        if item.holder is not None and item.holder.id == claim.id:
            self.release(environment, claim, item.failure, unclean=item.unclean)
        elif item.silent and item.latest is not None:
            silent = ("holder", "failed", "unclean")
            condition = " AND ".join(["latest.id = :latest", *(f"attribute_not_exists({name})" for name in silent)])
            self._delete(
                environment, f"{condition} AND {_NOBODY_WAITS}", {":latest": {"S": item.latest.id}, ":zero": _ZERO}
            )

    def release(self, environment: EnvironmentId, claim: Claim, failure: Failure | None, *, unclean: bool) -> None:
        """Ends the turn. Nothing happens where the claim doesn't have it any more.

        The item goes, unless it has something to say or somebody waits.
        """
        values: dict[str, Value] = {":me": {"S": claim.id}}
        if failure is None and not unclean:
            answer = self._delete(environment, f"holder.id = :me AND {_NOBODY_WAITS}", {**values, ":zero": _ZERO})
            if answer.done or answer.item.holder is None or answer.item.holder.id != claim.id:
                return
        sets, removes = ["expires_at = :expires"], ["holder"]
        values[":expires"] = _expiry()
        if failure is None:
            removes.append("failed")
        else:
            sets.append("failed = :failed")
            values[":failed"] = failure_value(failure)
        if unclean:
            sets.append("unclean = :true")
            values[":true"] = {"BOOL": True}
        else:
            removes.append("unclean")
        self._update(environment, f"SET {', '.join(sets)} REMOVE {', '.join(removes)}", "holder.id = :me", values)

    def read(self, environment: EnvironmentId) -> Item | None:
        """The item, or None where there is none."""
        with self._asking("can't read", environment):
            answer = self._aws.dynamodb.get_item(TableName=self._name, Key=_key(environment), ConsistentRead=True)
        return read_item(environment, answer["Item"]) if "Item" in answer else None

    def scan(self, project: str | None) -> dict[EnvironmentId, Item]:
        """All items of the platform, or of one of its projects."""
        pages = self._aws.dynamodb.get_paginator("scan")
        found: dict[EnvironmentId, Item] = {}
        with self._asking("can't list", None):
            for page in pages.paginate(TableName=self._name, ConsistentRead=True):
                for raw in page["Items"]:
                    key = raw["environment"].get("S", "")
                    if key.startswith(BOOKMARKS):
                        continue
                    environment = environment_of(self._platform, key)
                    if project in (None, environment.project):
                        found[environment] = read_item(environment, raw)
        return found

    def _until(self) -> int:
        return round(time.time() + self._seconds)

    def _update(
        self,
        environment: EnvironmentId,
        update: str,
        condition: str,
        values: Mapping[str, Value],
        claims: Sequence[str] = (),
    ) -> Answer:
        """`claims` are the ids of waiting claims, which the expressions name `#n0`, `#n1` and so on."""
        dynamodb = self._aws.dynamodb
        request: UpdateItemInputTypeDef = {
            "TableName": self._name,
            "Key": _key(environment),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:  # DynamoDB refuses empty ones
            request["ExpressionAttributeValues"] = values
        if claims:
            request["ExpressionAttributeNames"] = {f"#n{at}": name for at, name in enumerate(claims)}
        with self._asking("can't write", environment):
            try:
                found = dynamodb.update_item(**request)
            except dynamodb.exceptions.ConditionalCheckFailedException as error:
                return Answer(False, _as_it_is(environment, error.response))
        return Answer(True, read_item(environment, found.get("Attributes", {})))

    def _delete(self, environment: EnvironmentId, condition: str, values: Mapping[str, Value]) -> Answer:
        dynamodb = self._aws.dynamodb
        with self._asking("can't write", environment):
            try:
                dynamodb.delete_item(
                    TableName=self._name,
                    Key=_key(environment),
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except dynamodb.exceptions.ConditionalCheckFailedException as error:
                return Answer(False, _as_it_is(environment, error.response))
        return Answer(True, Item())

    @contextmanager
    def _asking(self, doing: str, environment: EnvironmentId | None) -> Generator[None]:
        what = f"the lease of {environment.branch} of {environment.project}" if environment else "the leases"
        try:
            with asking(f"{doing} {what}"):
                yield
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                raise ConfigurationError(
                    f"the platform {self._platform!r} has no base in {self._aws.region} yet, or its table"
                    f" {self._name} is missing",
                    remedy="run 'branchline aws bootstrap'",
                ) from error
            raise


def _key(environment: EnvironmentId) -> dict[str, Value]:
    return {"environment": {"S": key_of(environment)}}


def _expiry() -> Value:
    return {"N": str(round(time.time() + _KEPT))}


def _waiting(ids: Sequence[str]) -> list[str]:
    return [f"waiting.#n{at}" for at in range(len(ids))]


def _as_seen(seen: Item) -> tuple[list[str], dict[str, Value]]:
    """The condition that no other change has come since the item was seen."""
    if seen.latest is None:
        return ["attribute_not_exists(latest)"], {}
    return ["latest.id = :seen"], {":seen": {"S": seen.latest.id}}


def _as_it_is(environment: EnvironmentId, response: Mapping[str, object]) -> Item:
    """The item that a refused write answers with; none where there is no item."""
    return read_item(environment, cast("Mapping[str, Value]", response.get("Item", {})))
