"""Keeps environments' containers away from the host: its services, published ports and cloud metadata.

Docker isolates bridge networks from each other, but not from the host. From any bridge, `internal` ones too, a
container reaches what the host serves on 0.0.0.0 or on the bridge's gateway address, the ports that other containers
publish, and the link-local metadata service, which on most clouds hands out the machine's credentials. Only the host's
packet filter closes that. So a platform has two chains of its own (names computed), reached by one jump each:

- `BRANCHLINE-<id>-IN`, from the top of INPUT: what comes from the platform's bridges and opens a connection to the host
  is refused; answers on connections that the host opened, such as the router's, pass.
- `BRANCHLINE-<id>-FWD`, from the top of DOCKER-USER, the chain that Docker reserves for its users and never flushes (of
  FORWARD, where there is none): refused are metadata addresses, and connections that a DNAT rule diverts to a published
  port. All else stays allowed, the Internet and the local network included: previews need their databases and APIs.

Refused means REJECT, not DROP: a mistaken call fails at once with "connection refused", not after a minute. Packets
that belong to no connection we know are dropped silently, as a reset might end a connection that conntrack merely lost.

DNS: a container on a network of its own asks Docker's resolver at 127.0.0.11. That asks the host's nameservers **from
within the container's network namespace**, except those on loopback, which it asks from the host's (20.10 and newer).
So a nameserver on one of the host's own addresses, or on a link-local one (Google Cloud's is 169.254.169.254), would
be cut off: port 53 of exactly the addresses that Docker takes from the host's resolv.conf passes. A `dns` entry in
Docker's daemon.json that names an address of this host is not seen here.

IPv6: Docker gives containers none by default, but their bridge has a link-local address, which a container with NET_RAW
reaches by writing its own frames. So ip6tables, where it exists, gets the same chains; neighbour discovery passes.

Other firewalls: ufw, firewalld and hand-written nftables rules keep all they have. We only ever take away: nothing is
accepted here, only refused or returned to the rules that follow, so a stricter firewall stays as strict. A refusal is
final in whichever table it happens. A reload that flushes our rules is repaired by the next `close`; the kernel forgets
them when the machine restarts, so whatever starts the environments then calls `close` first.

All of this acts on the network namespace that it runs in: it is for an engine on this machine, neither for a remote nor
for a rootless one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from branchline import naming
from branchline.errors import EngineError

_RESOLV_CONF = Path("/etc/resolv.conf")
_SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
_LOCK_SECONDS = 10
_COMMAND_SECONDS = 30
_CHAIN_PREFIX = "BRANCHLINE-"
_MARK = re.compile(r"--comment \"?(branchline\.[0-9a-f]+\.[0-9]+)")
_NO_RIGHTS = ("permission denied", "operation not permitted", "must be root")


class Status(StrEnum):
    """Whether containers can reach the host."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FirewallState:
    """What `doctor` says about the firewall. Reason and remedy are empty where it is closed."""

    status: Status
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Family:
    """One of the two packet filters, and what differs between them."""

    version: int
    command: str
    refusal: str
    metadata: tuple[str, ...]
    """Where clouds serve instance metadata: link-local, and those of Alibaba, Azure, AWS and Google beside it."""
    needed: tuple[str, ...] = ()
    """What must pass for the protocol itself to work."""


_IPV4 = _Family(
    version=4,
    command="iptables",
    refusal="icmp-admin-prohibited",
    metadata=("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32"),
)
_IPV6 = _Family(
    version=6,
    command="ip6tables",
    refusal="icmp6-adm-prohibited",
    metadata=("fd00:ec2::254/128", "fd20:ce::254/128"),
    # Router solicitation, neighbour solicitation and advertisement (RFC 4861).
    needed=tuple(f"-p ipv6-icmp -m icmp6 --icmpv6-type {number} -j RETURN" for number in (133, 135, 136)),
)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A chain as it should be."""

    name: str
    parent: str
    jump: str
    rules: tuple[str, ...]

    @property
    def marks(self) -> list[str]:
        """A comment for each rule. They tell an intact chain without relying on how a version prints the rules."""
        digest = naming.digest("\n".join(self.rules), 8)
        return [f"branchline.{digest}.{number}" for number in range(1, len(self.rules) + 1)]


_Filter = dict[str, list[str]]
"""The filter table as it is: the rules of each chain, in `iptables-save`'s words."""


class _UnavailableError(EngineError):
    """The packet filter can't be read or changed by us: no rights, or no such program."""


def bridge_prefix(platform: str) -> str:
    """What the names of all the platform's bridges start with; followed by `+`, it is iptables' wildcard for them."""
    return f"bl{_identifier(platform)}"


def bridge_name(platform: str, project: str, slug: str) -> str:
    """The name of an environment's bridge interface: 15 characters, the most that Linux takes (IFNAMSIZ - 1)."""
    return f"{bridge_prefix(platform)}{naming.digest(naming.resource(platform, project, slug), 8)}"


def close(platform: str) -> bool:
    """Keeps the platform's containers away from the host. Repeatable, and cheap where it is closed already.

    Returns whether it is closed: False where we lack the rights (root or CAP_NET_ADMIN) or there is no iptables.

    Raises:
        EngineError: the packet filter refused, with what it said.
    """
    return _change(_repair, platform)


def open_again(platform: str) -> bool:
    """Removes the platform's chains and the jumps to them. Missing is no error.

    Returns whether they are gone: False where we lack the rights or there is no iptables.

    Raises:
        EngineError: the packet filter refused, with what it said.
    """
    return _change(_removal, platform)


def state(platform: str) -> FirewallState:
    """Whether the platform's containers are kept away from the host, and if not, why and what to do."""
    exposed = "environments' containers can reach this host's services, published ports and cloud metadata"
    if _program(f"{_IPV4.command}-save") is None:
        reason = f"{exposed}: {_IPV4.command} is not installed"
        return FirewallState(Status.OPEN, reason, f"install {_IPV4.command}, then run as root: branchline router start")
    try:
        if all(_is_closed(_read(family), platform, family) for family in _families()):
            return FirewallState(Status.CLOSED)
    except EngineError as error:
        return FirewallState(Status.UNKNOWN, error.message, error.remedy)
    reason = f"{exposed}: the firewall rules against it are missing, incomplete or out of date"
    return FirewallState(Status.OPEN, reason, "run as root: branchline router start")


def _identifier(platform: str) -> str:
    return naming.digest(platform, 5)


def _families() -> list[_Family]:
    """IPv4, and IPv6 where this machine has both it and its packet filter."""
    ipv6 = Path("/proc/net/if_inet6").exists() and _program(f"{_IPV6.command}-save") is not None
    return [_IPV4, _IPV6] if ipv6 else [_IPV4]


def _resolvers() -> list[IPv4Address | IPv6Address]:
    """The nameservers that Docker's resolver asks from within a container, in the order that they are listed.

    Docker reads /etc/resolv.conf, and systemd-resolved's own file where that only names systemd-resolved's stub.
    """
    addresses = _nameservers(_RESOLV_CONF)
    if addresses == [IPv4Address("127.0.0.53")]:
        addresses = _nameservers(_SYSTEMD_RESOLV_CONF)
    return [address for address in addresses if not address.is_loopback]


def _nameservers(path: Path) -> list[IPv4Address | IPv6Address]:
    addresses: list[IPv4Address | IPv6Address] = []
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return addresses
    # An IPv6 address with a zone means something on the host only, so Docker asks it from there.
    for word in re.findall(r"^nameserver[ \t]+([0-9A-Fa-f:.]+)[ \t]*$", text, re.MULTILINE):
        try:
            addresses.append(ip_address(word))
        except ValueError:
            continue
    return addresses


def _wanted(table: _Filter, platform: str, family: _Family) -> list[_Chain]:
    """The platform's chains as they should be."""
    dns = [
        f"-d {address} -p {protocol} -m {protocol} --dport 53 -j RETURN"
        for address in _resolvers()
        if address.version == family.version
        for protocol in ("udp", "tcp")
    ]
    incoming = [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        *family.needed,
        *dns,
        "-m conntrack --ctstate INVALID -j DROP",
        *_refused("", family),
    ]
    forwarded = [
        *dns,
        *(rule for network in family.metadata for rule in _refused(f"-d {network} ", family)),
        # No reset for these: it would come from the address that they were diverted to, and be ignored.
        f"-m conntrack --ctstate DNAT --ctdir ORIGINAL -j REJECT --reject-with {family.refusal}",
    ]
    chains = (
        (f"{_CHAIN_PREFIX}{_identifier(platform)}-IN", "INPUT", incoming),
        (
            f"{_CHAIN_PREFIX}{_identifier(platform)}-FWD",
            "DOCKER-USER" if "DOCKER-USER" in table else "FORWARD",
            forwarded,
        ),
    )
    return [
        _Chain(name, parent, f"-i {bridge_prefix(platform)}+ -j {name}", tuple(rules)) for name, parent, rules in chains
    ]


def _refused(match: str, family: _Family) -> tuple[str, str]:
    return (f"{match}-p tcp -j REJECT --reject-with tcp-reset", f"{match}-j REJECT --reject-with {family.refusal}")


def _is_closed(table: _Filter, platform: str, family: _Family) -> bool:
    """Whether both chains are whole, and reached once each, before any rule that isn't another platform's jump."""
    for chain in _wanted(table, platform, family):
        marks = [match.group(1) if (match := _MARK.search(rule)) else "" for rule in table.get(chain.name, [])]
        if marks != chain.marks or _jumps(table, chain.name) != [(chain.parent, chain.jump)]:
            return False
        before = table[chain.parent][: table[chain.parent].index(chain.jump)]
        if not all(f" -j {_CHAIN_PREFIX}" in rule for rule in before):
            return False
    return True


def _jumps(table: _Filter, name: str) -> list[tuple[str, str]]:
    """Every rule that leads to the chain, with the chain that holds it."""
    return [(parent, rule) for parent, rules in table.items() for rule in rules if f" {rule}".endswith(f" -j {name}")]


def _repair(table: _Filter, platform: str, family: _Family) -> list[str]:
    """The changes that make both chains whole and reached first; none where they are."""
    if _is_closed(table, platform, family):
        return []
    lines: list[str] = []
    for chain in _wanted(table, platform, family):
        lines.append(f":{chain.name} - [0:0]")  # makes the chain, or empties it
        lines += [f"-D {parent} {rule}" for parent, rule in _jumps(table, chain.name)]
        lines += [
            f"-A {chain.name} -m comment --comment {mark} {rule}"
            for rule, mark in zip(chain.rules, chain.marks, strict=True)
        ]
        lines.append(f"-I {chain.parent} 1 {chain.jump}")
    return lines


def _removal(table: _Filter, platform: str, family: _Family) -> list[str]:
    """The changes that leave nothing of the platform's; none where nothing is left."""
    lines: list[str] = []
    for chain in _wanted(table, platform, family):
        lines += [f"-D {parent} {rule}" for parent, rule in _jumps(table, chain.name)]
        if chain.name in table:
            lines += [f"-F {chain.name}", f"-X {chain.name}"]
    return lines


def _change(changes: Callable[[_Filter, str, _Family], list[str]], platform: str) -> bool:
    """Reads the table and, only where that asks for changes, reads it again and makes them, as the only one of us.

    The lock is on this network namespace itself, which is just as far as the table reaches: no file is left behind.
    """
    try:
        for family in _families():
            if changes(_read(family), platform, family):
                with Path("/proc/self/ns/net").open("rb") as namespace:
                    fcntl.flock(namespace, fcntl.LOCK_EX)
                    _apply(family, changes(_read(family), platform, family))
    except _UnavailableError:
        return False
    return True


def _read(family: _Family) -> _Filter:
    table: _Filter = {}
    for line in _run(f"{family.command}-save", "-t", "filter").splitlines():
        if line.startswith(":"):
            table.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            table.setdefault(chain, []).append(rule)
    return table


def _apply(family: _Family, lines: list[str]) -> None:
    """Makes all the changes or none of them."""
    if not lines:
        return
    text = "\n".join(("*filter", *lines, "COMMIT", ""))
    _run(f"{family.command}-restore", "--noflush", "-w", str(_LOCK_SECONDS), stdin=text)


def _program(name: str) -> str | None:
    # Users other than root often lack the sbin directories in their PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _run(name: str, *arguments: str, stdin: str = "") -> str:
    program = _program(name)
    if program is None:
        raise _UnavailableError(f"{name} is not installed", remedy="install iptables")
    try:
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"{name} was not done within {_COMMAND_SECONDS} seconds", remedy="see which program holds the xtables lock"
        ) from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip()
    if any(words in said.lower() for words in _NO_RIGHTS):
        raise _UnavailableError(
            "only root may read and change the firewall", remedy="run the command as root, or give it CAP_NET_ADMIN"
        )
    raise EngineError(f"{name} failed: {said}", remedy=f"see whether {name} works by hand")
