"""Each environment's own bridge network, closed towards the others, the host and link-local addresses."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from branchline import labels
from branchline.engines.docker import firewall, subnets
from branchline.engines.docker.client import Client
from branchline.environment import EnvironmentId
from branchline.errors import EngineError


def ensure(client: Client, environment: EnvironmentId, name: str, pool: str) -> IPv4Network:
    """The environment's network, made if it isn't there; returns its subnet.

    The subnet is one of ours, so that every release gets an address that it keeps over restarts: the route stays right
    without anybody watching. Where a network or a route of the machine has it already, the next one is taken.

    Raises:
        EngineError: the pool of subnets is used up, or a network that isn't ours has the name.
    """
    firewall.close(environment.platform)
    ours = {
        labels.PLATFORM: environment.platform,
        labels.PROJECT: environment.project,
        labels.BRANCH: labels.branch_value(environment.branch),
        labels.SLUG: environment.slug,
    }
    for network in client.networks(ours):
        return IPv4Network(network.subnet)
    bridge = firewall.bridge_name(environment.platform, environment.project, environment.slug)
    taken = subnets.routed(Path("/proc/net/route").read_text())
    for subnet in subnets.candidates(pool, name, taken):
        try:
            if client.create_network(name, str(subnet), bridge, ours):
                return subnet
        except EngineError:
            # A deploy was killed just now, and the engine went on with its call: the name is taken by our own network.
            for network in client.networks(ours):
                return IPv4Network(network.subnet)
            raise
    raise EngineError(
        f"no free subnet is left in {pool} for another environment",
        remedy="remove environments (branchline reap), or set a larger docker.subnets in platform.toml",
    )
