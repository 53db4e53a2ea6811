"""The rules of turns on ECS: whose turn it is, who is dead, and what others see of an item."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from branchline.engines.ecs.lease_records import (
    Beats,
    Claim,
    Failure,
    Item,
    Kind,
    Latest,
    claim_value,
    environment_of,
    failure_value,
    key_of,
    latest_value,
    may_take,
    read_item,
    record_of,
)
from branchline.environment import EnvironmentId, Release

ENVIRONMENT = EnvironmentId("preview", "shop", "main")
SINCE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = 1_000_000


def claim(name: str, kind: Kind = Kind.PUSH, **values: Any) -> Claim:
    return Claim(name, kind, "c0ffee" if kind is Kind.PUSH else "", SINCE, **{"until": NOW + 30, **values})


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(*claims: Claim) -> dict[str, Claim]:
    return {item.id: item for item in claims}


@pytest.mark.parametrize("kind", Kind)
def test_a_turn_that_nobody_has_may_be_taken(kind: Kind) -> None:
    assert may_take(claim("me", kind), Item(), [])


@pytest.mark.parametrize("kind", Kind)
def test_a_turn_is_taken_from_the_dead_only(kind: Kind) -> None:
    item = Item(holder=claim("other"))
    assert not may_take(claim("me", kind), item, [])
    assert may_take(claim("me", kind), item, [claim("other")])


def test_a_push_lets_every_deletion_go_first_that_lives() -> None:
    one, two = claim("one", Kind.DELETION), claim("two", Kind.DELETION)
    item = Item(waiting=waiting(one, two, claim("another push")))
    assert not may_take(claim("me"), item, [])
    assert not may_take(claim("me"), item, [one])
    assert may_take(claim("me"), item, [one, two])


@pytest.mark.parametrize("kind", [Kind.DELETION, Kind.ADJUSTMENT])
def test_nothing_but_a_push_waits_for_deletions(kind: Kind) -> None:
    assert may_take(claim("me", kind), Item(waiting=waiting(claim("one", Kind.DELETION))), [])


def test_a_beat_that_stands_still_is_death_after_a_while_and_one_that_moves_is_life() -> None:
    clock = Clock()
    beats = Beats(30, clock)
    silent, lively = claim("silent"), claim("lively")
    for seconds in (0.0, 10.0, 20.0, 29.0):
        clock.now = seconds
        lively = replace(lively, beat=lively.beat + 1)
        beats.see(Item(holder=silent, waiting=waiting(lively)))
        assert not beats.dead(silent, NOW)
        assert not beats.dead(lively, NOW)
    clock.now = 30.0
    assert beats.dead(silent, NOW)
    assert not beats.dead(lively, NOW)


def test_clocks_that_differ_by_minutes_kill_nobody() -> None:
    beats = Beats(30, Clock())
    beats.see(Item(holder=claim("other", until=NOW - 1200)))
    assert not beats.dead(claim("other", until=NOW - 1200), NOW)


def test_a_claim_of_hours_ago_is_dead_at_first_sight() -> None:
    beats = Beats(30, Clock())
    beats.see(Item(holder=claim("other", until=NOW - 7200)))
    assert beats.dead(claim("other", until=NOW - 7200), NOW)


def test_a_push_that_has_its_turn_is_seen_as_deploying() -> None:
    seen = record_of(ENVIRONMENT, Item(holder=claim("other")), NOW)
    assert seen is not None
    assert (seen.held, seen.unclean) == (True, False)
    assert seen.deploying == Release(ENVIRONMENT, 0, "c0ffee", SINCE)


@pytest.mark.parametrize("kind", [Kind.DELETION, Kind.ADJUSTMENT])
def test_what_else_has_its_turn_is_seen_as_that_and_deploys_nothing(kind: Kind) -> None:
    seen = record_of(ENVIRONMENT, Item(holder=claim("other", kind)), NOW)
    assert seen is not None
    assert seen.held
    assert seen.deploying is None


def test_who_died_in_a_turn_is_seen_as_having_left_things_unclean() -> None:
    seen = record_of(ENVIRONMENT, Item(holder=claim("other", until=NOW - 60)), NOW)
    assert seen is not None
    assert (seen.held, seen.unclean, seen.deploying) == (False, True, None)


def test_an_item_of_somebody_who_only_waited_tells_others_nothing() -> None:
    item = Item(waiting=waiting(claim("other")), latest=Latest("other", "c0ffee"))
    assert record_of(ENVIRONMENT, item, NOW) is None


@pytest.mark.parametrize("branch", ["main", "feature/cart", "größer", b"caf\xe9".decode("utf-8", "surrogateescape")])
def test_the_key_can_be_read_back_whatever_bytes_the_branch_has(branch: str) -> None:
    environment = EnvironmentId("preview", "shop", branch)
    key = key_of(environment)
    assert key.encode()
    assert environment_of("preview", key) == environment


def test_an_item_comes_back_as_it_was_written() -> None:
    release = Release(ENVIRONMENT, 7, "c0ffee", SINCE, "shop:c0ffee", "exited with code 1")
    item = Item(
        holder=claim("holder"),
        waiting=waiting(claim("one", Kind.DELETION), claim("two", beat=3)),
        latest=Latest("two", "c0ffee"),
        failure=Failure(release, "main--shop.preview.example", "https://forge.example/team/shop"),
        unclean=True,
    )
    assert item.holder is not None
    assert item.failure is not None
    raw = {
        "holder": claim_value(item.holder, item.holder.until),
        "waiting": {"M": {name: claim_value(other, other.until) for name, other in item.waiting.items()}},
        "latest": latest_value(item.waiting["two"]),
        "failed": failure_value(item.failure),
        "unclean": {"BOOL": True},
    }
    assert read_item(ENVIRONMENT, raw) == item
    assert read_item(ENVIRONMENT, {}) == Item()


def test_a_reason_that_names_a_branch_of_any_bytes_can_be_stored() -> None:
    reason = b"caf\xe9 failed".decode("utf-8", "surrogateescape")
    failure = Failure(Release(ENVIRONMENT, 1, "c0ffee", SINCE, failure=reason), "host", "")
    found = read_item(ENVIRONMENT, {"failed": failure_value(failure)}).failure
    assert found is not None
    assert found.release.failure == r"caf\udce9 failed"
