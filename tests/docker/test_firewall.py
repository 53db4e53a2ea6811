"""Containers on the platform's bridges against the host's real packet filter, before and after it is closed."""

from __future__ import annotations

import json
import secrets
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types
import pytest

from branchline.engines.docker import firewall
from branchline.engines.docker.firewall import Status
from branchline.engines.docker.subnets import candidates
from tests.waiting import eventually

pytestmark = pytest.mark.docker

BANNER = "reached"
SERVE = ["nc", "-ll", "-p", "80", "-e", "/bin/busybox", "echo", BANNER]


def run(*command: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def banner_of(address: str, port: int) -> str:
    """What a server says when this process connects to it, or an empty string where it can't."""
    try:
        with socket.create_connection((address, port), timeout=3) as connection:
            return connection.recv(100).decode().strip()
    except OSError:
        return ""


def address_in(network: Any, container: Any) -> str:
    return container.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]


@dataclass(frozen=True)
class Place:
    """A network with a container in it that serves a banner on port 80."""

    bridge: str
    gateway: str
    address: str
    network: Any
    container: Any

    def reaches(self, address: str, port: int) -> bool:
        result = self.container.exec_run(["nc", "-w", "3", address, str(port)])
        return BANNER in result.output.decode()

    def pings(self, address: str) -> bool:
        return self.container.exec_run(["ping", "-c", "1", "-W", "1", address]).exit_code == 0


class Lab:
    """Makes networks and containers, and removes every one of them at the end."""

    def __init__(self, client: docker.DockerClient, image: str) -> None:
        self.id = secrets.token_hex(4)
        self.client = client
        self.image = image
        self.containers: list[Any] = []
        self.networks: list[Any] = []

    def network(self, bridge: str) -> tuple[Any, IPv4Network]:
        name = f"branchline-test-{self.id}-{bridge}"
        for subnet in candidates("10.214.0.0/16", name, ()):
            pool = docker.types.IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
            try:
                network = self.client.networks.create(
                    name,
                    ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                    options={"com.docker.network.bridge.name": bridge},
                )
            except docker.errors.APIError as error:
                if "overlaps" in str(error):
                    continue
                raise
            self.networks.append(network)
            return network, subnet
        raise AssertionError("no free subnet")

    def container(self, network: Any, command: list[str] = SERVE, **options: Any) -> Any:
        container = self.client.containers.run(self.image, command, network=network.name, detach=True, **options)
        self.containers.append(container)
        container.reload()
        return container

    def place(self, bridge: str, **options: Any) -> Place:
        network, subnet = self.network(bridge)
        container = self.container(network, **options)
        address = address_in(network, container)
        eventually(lambda: banner_of(address, 80) == BANNER, "the container serves")
        return Place(bridge, str(subnet[1]), address, network, container)

    def remove_all(self) -> None:
        for container in self.containers:
            container.remove(force=True)
        for network in self.networks:
            network.remove()


@dataclass(frozen=True)
class Outside:
    """A machine beyond the host: a network namespace that serves the banner on port 80 of both its addresses."""

    link_local: str
    lan: str
    host_link_local: str
    """The host's own link-local address on the way there."""


@pytest.fixture(scope="module")
def lab(engine: docker.DockerClient, tiny_base: str) -> Iterator[Lab]:
    lab = Lab(engine, tiny_base)
    yield lab
    lab.remove_all()


@pytest.fixture(scope="module")
def platform() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def ours(lab: Lab, platform: str) -> Place:
    """An environment of the platform."""
    return lab.place(firewall.bridge_name(platform, "shop", "main"))


@pytest.fixture(scope="module")
def foreign(lab: Lab) -> Place:
    """A container that has nothing to do with Branchline, and publishes its port on every address of the host."""
    return lab.place(f"xx{secrets.token_hex(6)}", ports={"80/tcp": ("0.0.0.0", None)})


@pytest.fixture(scope="module")
def host_port() -> Iterator[int]:
    """A service of the host on 0.0.0.0."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(BANNER.encode())

    with socketserver.ThreadingTCPServer(("0.0.0.0", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    name = f"bt{secrets.token_hex(5)}"
    third, fourth = secrets.randbelow(250) + 1, secrets.randbelow(60) * 4
    link_local, lan = f"169.254.{third}.", f"198.18.{third}."
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        for prefix in (link_local, lan):
            run("ip", "address", "add", f"{prefix}{fourth + 1}/30", "dev", name)
            run("ip", "-n", name, "address", "add", f"{prefix}{fourth + 2}/30", "dev", "eth0")
        run("ip", "link", "set", name, "up")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        server = subprocess.Popen(["ip", "netns", "exec", name, "busybox", *SERVE])
        try:
            eventually(lambda: banner_of(f"{lan}{fourth + 2}", 80) == BANNER, "the machine beyond the host serves")
            yield Outside(f"{link_local}{fourth + 2}", f"{lan}{fourth + 2}", f"{link_local}{fourth + 1}")
        finally:
            server.kill()
            server.wait()
    finally:
        run("ip", "netns", "delete", name)


@pytest.fixture
def opened(platform: str) -> Iterator[str]:
    """The platform's name; its firewall is open at first, and again in the end."""
    assert firewall.state(platform).status is Status.OPEN
    yield platform
    assert firewall.open_again(platform)


def published_port(place: Place) -> int:
    return int(place.container.ports["80/tcp"][0]["HostPort"])


def test_a_closed_firewall_keeps_containers_from_the_host_and_from_metadata(
    opened: str, ours: Place, foreign: Place, host_port: int, outside: Outside
) -> None:
    forbidden = {
        "a service of the host, on the bridge's gateway address": (ours.gateway, host_port),
        "a service of the host, on another network's address": (foreign.gateway, host_port),
        "a port that another container publishes": (ours.gateway, published_port(foreign)),
        "a link-local address of the host": (outside.host_link_local, host_port),
        "a link-local address beyond the host": (outside.link_local, 80),
    }
    assert [what for what, target in forbidden.items() if not ours.reaches(*target)] == []
    assert ours.pings(ours.gateway)

    assert firewall.close(opened)
    assert firewall.state(opened).status is Status.CLOSED
    assert [what for what, target in forbidden.items() if ours.reaches(*target)] == []
    assert not ours.pings(ours.gateway)

    assert firewall.open_again(opened)
    assert firewall.state(opened).status is Status.OPEN
    assert [what for what, target in forbidden.items() if not ours.reaches(*target)] == []


def test_a_refused_connection_fails_at_once(opened: str, ours: Place, host_port: int) -> None:
    firewall.close(opened)
    started = time.monotonic()
    result = ours.container.exec_run(["nc", "-w", "20", ours.gateway, str(host_port)])
    assert b"refused" in result.output
    assert time.monotonic() - started < 5


def test_the_router_and_the_neighbours_are_still_reached(opened: str, lab: Lab, ours: Place, outside: Outside) -> None:
    neighbour = lab.container(ours.network, name=f"neighbour-{lab.id}")
    address = address_in(ours.network, neighbour)
    eventually(lambda: banner_of(address, 80) == BANNER, "the neighbour serves")
    assert firewall.close(opened)
    assert banner_of(ours.address, 80) == BANNER, "from the host to the container"
    assert ours.reaches(address, 80), "to a container of the same network"
    assert ours.reaches(neighbour.name, 80), "by its name, through Docker's resolver"
    assert ours.reaches(outside.lan, 80), "to the local network"


def test_a_connection_that_the_host_opened_outlives_the_closing(opened: str, lab: Lab, ours: Place) -> None:
    talker = lab.container(ours.network, ["nc", "-ll", "-p", "80", "-e", "/bin/cat"])
    address = address_in(ours.network, talker)

    def connect() -> socket.socket:
        try:
            return socket.create_connection((address, 80), timeout=3)
        except OSError as error:
            raise AssertionError(str(error)) from error

    with eventually(connect, "the container listens") as connection:
        for step in (b"open\n", b"closed\n"):
            connection.sendall(step)
            assert connection.recv(100) == step
            assert firewall.close(opened)


def test_a_published_port_that_the_kernel_diverts_is_refused_as_well(
    opened: str, ours: Place, outside: Outside
) -> None:
    """Engines without the userland proxy divert published ports by DNAT; they then pass FORWARD, not INPUT."""
    rule = f"-i {ours.bridge} -d {ours.gateway} -p tcp --dport 4080 -j DNAT --to-destination {outside.lan}:80".split()
    run("iptables", "-w", "10", "-t", "nat", "-I", "PREROUTING", *rule)
    try:
        assert ours.reaches(ours.gateway, 4080)
        firewall.close(opened)
        result = ours.container.exec_run(["nc", "-w", "20", ours.gateway, "4080"])
        assert b"No route to host" in result.output, "refused, not left to time out"
    finally:
        run("iptables", "-w", "10", "-t", "nat", "-D", "PREROUTING", *rule)


def test_containers_on_other_networks_and_platforms_are_untouched(
    opened: str, lab: Lab, ours: Place, foreign: Place, host_port: int
) -> None:
    other = f"other-{secrets.token_hex(4)}"
    theirs = lab.place(firewall.bridge_name(other, "shop", "main"))
    try:
        assert firewall.close(opened)
        assert not ours.reaches(ours.gateway, host_port)
        assert theirs.reaches(theirs.gateway, host_port)
        assert foreign.reaches(foreign.gateway, host_port)
        assert banner_of("127.0.0.1", published_port(foreign)) == BANNER

        assert firewall.close(other)
        assert not theirs.reaches(theirs.gateway, host_port)
        assert firewall.open_again(opened)
        assert ours.reaches(ours.gateway, host_port)
        assert not theirs.reaches(theirs.gateway, host_port)
        assert foreign.reaches(foreign.gateway, host_port)
    finally:
        firewall.open_again(other)


def test_names_resolve_when_the_nameserver_is_an_address_of_the_host(
    opened: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, subnet = lab.network(firewall.bridge_name(opened, "shop", "dns"))
    gateway = str(subnet[1])
    askers: set[str] = set()

    class Nameserver(socketserver.BaseRequestHandler):
        """Answers every question for an address with 192.0.2.7."""

        def handle(self) -> None:
            query, reply = self.request
            askers.add(self.client_address[0])
            question = query[12 : query.index(b"\0", 12) + 5]
            record = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton("192.0.2.7"))
            answers = record if question.endswith(b"\0\1\0\1") else b""
            header = query[:2] + struct.pack("!5H", 0x8180, 1, 1 if answers else 0, 0, 0)
            reply.sendto(header + question + answers, self.client_address)

    with socketserver.UDPServer((gateway, 53), Nameserver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            place = lab.container(network, dns=[gateway])

            def resolves() -> bool:
                return b"192.0.2.7" in place.exec_run(["nslookup", "shop.test"]).output

            assert resolves()
            assert askers == {address_in(network, place)}, (
                "Docker's resolver asks from within the container's network namespace"
            )

            assert firewall.close(opened)
            assert not resolves()

            resolv_conf = tmp_path / "resolv.conf"
            resolv_conf.write_text(f"nameserver 127.0.0.1\nnameserver {gateway}\n")
            monkeypatch.setattr(firewall, "_RESOLV_CONF", resolv_conf)
            assert firewall.state(opened).status is Status.OPEN, "what is closed isn't what should be"
            assert firewall.close(opened)
            assert firewall.state(opened).status is Status.CLOSED
            assert resolves()
        finally:
            server.shutdown()
            thread.join()


def test_a_container_that_writes_its_own_ipv6_frames_does_not_reach_the_host(opened: str, ours: Place) -> None:
    """Docker gives it no IPv6 address, but NET_RAW lets it make one up."""
    send = """
import socket, struct, sys
source, target = (socket.inet_pton(socket.AF_INET6, a) for a in ("fe80::7", sys.argv[1]))
port, mac, data = int(sys.argv[2]), bytes.fromhex(sys.argv[3].replace(":", "")), b"reached"
udp = struct.pack("!4H", 5000, port, 8 + len(data), 0) + data
total = source + target + struct.pack("!II", len(udp), 17) + udp + b"\\0" * (len(udp) % 2)
sum16 = sum(struct.unpack(f"!{len(total) // 2}H", total))
while sum16 >> 16:
    sum16 = (sum16 & 0xFFFF) + (sum16 >> 16)
udp = udp[:6] + struct.pack("!H", ~sum16 & 0xFFFF) + data
packet = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + source + target + udp
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as frames:
    frames.sendto(packet, ("eth0", 0x86DD, 0, 0, mac))
"""
    link = json.loads(run("ip", "-json", "-6", "address", "show", "dev", ours.bridge, "scope", "link"))
    target = link[0]["addr_info"][0]["local"]
    mac = Path(f"/sys/class/net/{ours.bridge}/address").read_text().strip()
    pid = str(ours.container.attrs["State"]["Pid"])
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listener:
        listener.bind(("::", 0))
        listener.settimeout(2)
        port = str(listener.getsockname()[1])
        command = ("nsenter", "-t", pid, "-n", sys.executable, "-c", send, target, port, mac)
        run(*command)
        assert listener.recv(100) == b"reached"
        assert firewall.close(opened)
        run(*command)
        with pytest.raises(TimeoutError):
            listener.recv(100)
