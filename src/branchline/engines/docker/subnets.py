"""Addresses for environments' networks and releases, computed: nothing hands them out, so nothing has to remember.

Docker's own pools end after about 25 networks, so the operator names a range of private addresses and each environment
gets a /27 of it: 29 addresses for containers beside the gateway. The search for a free one starts at a place that the
environment's name decides, so that an environment tends to get the same subnet again and two deploys at the same time
rarely want the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from branchline import naming

SUBNET_PREFIX = 27
_DEFAULT_ROUTE = IPv4Network("0.0.0.0/0")
_ROUTE_IS_UP = 0x1  # RTF_UP in linux/route.h


def candidates(pool: str, key: str, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Every /27 of the pool that overlaps nothing taken, in an order that `key` decides; ends where the pool is full.

    Raises:
        ValueError: `pool` is not an IPv4 network of a /27 or larger. The settings check it first.
    """
    network = IPv4Network(pool)
    if network.prefixlen > SUBNET_PREFIX:
        raise ValueError(f"{pool} is smaller than a /{SUBNET_PREFIX}")
    count = 1 << (SUBNET_PREFIX - network.prefixlen)
    size = 1 << (32 - SUBNET_PREFIX)
    base = int(network.network_address)
    avoid = [other for other in taken if other.overlaps(network)]
    start = int(naming.digest(key, 16), 16) % count
    for step in range(count):
        subnet = IPv4Network((base + (start + step) % count * size, SUBNET_PREFIX))
        if not any(subnet.overlaps(other) for other in avoid):
            yield subnet


def routed(text: str) -> list[IPv4Network]:
    """The networks that the host has routes to, from the text of /proc/net/route; default routes left out.

    The file gives addresses in hexadecimal, as the machine's integers: little-endian where Docker runs.
    """
    networks: list[IPv4Network] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or not int(fields[3], 16) & _ROUTE_IS_UP:
            continue
        network = IPv4Network((_address(fields[1]), str(_address(fields[7]))))
        if network != _DEFAULT_ROUTE:
            networks.append(network)
    return networks


def address(subnet: IPv4Network, release_number: int) -> IPv4Address:
    """The address of a release in its environment's subnet; the next releases get others, until all had their turn.

    Never the network's own address, the gateway's (the first host) or the broadcast address. Releases count from 1.
    """
    usable = subnet.num_addresses - 3
    return subnet.network_address + 2 + release_number % usable


def _address(digits: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(digits)[::-1])
