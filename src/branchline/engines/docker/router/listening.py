"""The sockets that the router listens on, and who holds a port that is taken.

They are opened here and handed to Caddy, for two reasons. By itself it listens with SO_REUSEPORT: a second Caddy of the
same user would get the port too, and half of the first one's requests. And with each change of its configuration it
would open its sockets anew, and reset the connections that wait in the old ones; see `process`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from pathlib import Path

from branchline.errors import RouterError

_BACKLOG = 4096  # connections that may wait; the kernel caps it at net.core.somaxconn
_ESTABLISHED, _LISTEN = "01", "0A"  # TCP_ESTABLISHED and TCP_LISTEN in <netinet/tcp.h>, as /proc/net/tcp has them


def has_ipv6_loopback() -> bool:
    """Whether ::1 can be listened on."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def listen(address: str) -> socket.socket:
    """A socket that listens on `address` (`host:port`; an empty host is every address).

    A connection is handed on once its first bytes are there (TCP_DEFER_ACCEPT, tcp(7)): with HTTP and TLS the visitor
    speaks first, and a server that is being replaced never holds a connection whose request it hasn't seen.

    Raises:
        RouterError: it is taken, not allowed, or not an address of this machine.
    """
    host, _, port_text = address.rpartition(":")
    host, port = host.strip("[]"), int(port_text)
    try:
        return _bound(host, port)
    except OSError as error:
        raise _explained(error, host, port) from error


def check(address: str) -> None:
    """Returns if `address` is free to listen on; raises as `listen` does."""
    listen(address).close()


def _bound(host: str, port: int) -> socket.socket:
    if not host:
        host = "::" if has_ipv6_loopback() else "0.0.0.0"  # noqa: S104 - the operator's choice
    family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    opened = socket.socket(family, kind)
    try:
        # Connections that linger from an earlier router are no hindrance. Listening ones still are.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        if host == "::":
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(where)
        opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def _explained(error: OSError, host: str, port: int) -> RouterError:
    where = f"port {port}" + (f" of {host}" if host else "")
    elsewhere = (
        "choose another with router.http_port and router.https_port in platform.toml,"
        " or BRANCHLINE_ROUTER_HTTP_PORT and BRANCHLINE_ROUTER_HTTPS_PORT"
    )
    if error.errno == errno.EADDRINUSE:
        return RouterError(
            f"the router can't listen on {where}: {holder(port)} does", remedy=f"stop it, or {elsewhere}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return RouterError(
            f"the router can't listen on {where}: ports below 1024 need root's rights",
            remedy=f"run as root, or {elsewhere}",
        )
    return RouterError(
        f"the router can't listen on {where}: {error.strerror}",
        remedy="set router.bind in platform.toml to an address of this machine, or leave it empty",
    )


def connected(addresses: Iterable[str]) -> bool:
    """Whether anybody is connected to one of the addresses' ports on this machine."""
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    return any(state == _ESTABLISHED and port in ports for state, port, _ in _sockets())


def holder(port: int) -> str:
    """The process that listens on a TCP port, in words, as far as this user may know."""
    process = _process_with({f"socket:[{inode}]" for inode in _listening_inodes(port)})
    return "another process (only root can see which)" if process is None else f"{_name(process)} (process {process})"


def opener(path: Path) -> int | None:
    """The process, other than this one, that has a file open, or None where there is none that this user may see."""
    return _process_with({str(path.resolve())})


def has_open(process: int, path: Path) -> bool:
    """Whether a process has a file open."""
    return str(path.resolve()) in _open_files(process)


def _process_with(files: Set[str]) -> int | None:
    processes = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    others = (process for process in processes if process != os.getpid())
    return next((process for process in others if not files.isdisjoint(_open_files(process))), None)


def _open_files(process: int) -> Iterator[str]:
    """What a process's descriptors lead to; nothing where it is gone, or another user's."""
    with suppress(OSError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                yield str(descriptor.readlink())


def _listening_inodes(port: int) -> Iterator[str]:
    return (inode for state, at, inode in _sockets() if state == _LISTEN and at == port)


def _sockets() -> Iterator[tuple[str, int, str]]:
    """The state, local port and inode of each TCP socket of this machine, as proc(5) has them."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():  # no IPv6
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            yield fields[3], int(fields[1].rpartition(":")[2], 16), fields[9]


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:  # it has just ended
        return "a program"
