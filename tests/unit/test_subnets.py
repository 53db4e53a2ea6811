"""Addresses for networks and releases."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchline.engines.docker.subnets import address, candidates, routed

POOL = "10.213.0.0/16"
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
eth1\t0700000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
eth2\t0000A8C0\t00000000\t0000\t0\t0\t0\t0000FFFF\t0\t0\t0
"""

networks = st.builds(
    lambda value, prefix: IPv4Network((value, prefix), strict=False),
    st.integers(0x0AD50000, 0x0AD5FFFF),
    st.integers(14, 32),
)


@given(st.text())
def test_every_key_sees_the_whole_pool_once(key: str) -> None:
    found = list(candidates("10.213.0.0/20", key, ()))
    assert len(found) == len(set(found)) == 128
    assert set(found) == set(IPv4Network("10.213.0.0/20").subnets(new_prefix=27))


@given(st.text())
def test_the_same_key_begins_at_the_same_place(key: str) -> None:
    first = next(candidates(POOL, key, ()))
    assert next(candidates(POOL, key, ())) == first


def test_keys_spread_over_the_pool() -> None:
    firsts = {next(candidates(POOL, f"branchline.default.shop.branch-{number}", ())) for number in range(500)}
    assert len(firsts) > 400


@given(st.text(), st.lists(networks, max_size=20))
def test_no_candidate_overlaps_what_is_taken(key: str, taken: list[IPv4Network]) -> None:
    free = list(candidates("10.213.0.0/19", key, taken))
    assert not any(subnet.overlaps(other) for subnet in free for other in taken)
    expected = {
        subnet
        for subnet in IPv4Network("10.213.0.0/19").subnets(new_prefix=27)
        if not any(subnet.overlaps(other) for other in taken)
    }
    assert set(free) == expected


def test_what_is_taken_outside_the_pool_does_not_matter() -> None:
    assert len(list(candidates("10.213.0.0/26", "shop", [IPv4Network("10.214.0.0/16")]))) == 2


def test_the_order_goes_round_the_end_of_the_pool() -> None:
    found = list(candidates("10.213.0.0/24", "shop", ()))
    turns = sum(later < earlier for earlier, later in itertools.pairwise(found))
    assert turns <= 1
    assert found[0] == IPv4Network("10.213.0.0/27") or turns == 1


def test_a_full_pool_has_no_candidates() -> None:
    assert list(candidates(POOL, "shop", [IPv4Network("10.0.0.0/8")])) == []
    assert list(candidates("10.213.0.0/26", "shop", IPv4Network("10.213.0.0/26").subnets(new_prefix=28))) == []


def test_a_pool_of_one_subnet_has_one_candidate() -> None:
    assert list(candidates("10.213.0.32/27", "shop", ())) == [IPv4Network("10.213.0.32/27")]


@pytest.mark.parametrize("pool", ["10.213.0.0/28", "10.213.0.1/16", "fd00::/64", "nonsense", ""])
def test_a_pool_that_is_none_is_refused(pool: str) -> None:
    with pytest.raises(ValueError):
        next(candidates(pool, "shop", ()))


def test_routes_are_read_without_default_routes_and_those_that_are_down() -> None:
    assert routed(ROUTES) == [
        IPv4Network("172.17.0.0/16"),
        IPv4Network("192.0.2.0/24"),
        IPv4Network("0.0.0.0/1"),
        IPv4Network("10.0.0.7/32"),
    ]


def test_a_host_without_routes_has_none() -> None:
    assert routed("") == []
    assert routed(ROUTES.splitlines()[0]) == []


def test_this_machines_routes_are_read() -> None:
    assert _DEFAULT not in routed(Path("/proc/net/route").read_text())


_DEFAULT = IPv4Network("0.0.0.0/0")


@given(st.integers(0, 2047), st.integers(0, 1_000_000))
def test_a_release_has_a_hosts_address_and_never_its_predecessors(index: int, number: int) -> None:
    subnet = IPv4Network((0x0AD50000 + index * 32, 27))
    found = address(subnet, number)
    assert found in list(subnet.hosts())[1:]
    assert address(subnet, number) == found
    assert len({address(subnet, number + later) for later in range(29)}) == 29
