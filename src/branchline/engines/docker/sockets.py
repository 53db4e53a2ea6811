"""Which ports a container's processes listen on, read from the kernel's view of its network namespace.

It needs no program inside the image, but the right to look at other users' processes; without it there is no answer.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # linux/include/net/tcp_states.h
_EMBEDDED_DNS = ipaddress.ip_address("127.0.0.11")  # Docker's own resolver listens inside every container


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket."""

    port: int
    loopback: bool


def listening(pid: int) -> tuple[Listener, ...] | None:
    """The listening TCP sockets in the network namespace of process `pid`, or None where it can't be looked at."""
    try:
        tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return None
    return tuple(listener for table in tables for listener in parse(table))


def parse(table: str) -> list[Listener]:
    """Reads the text of /proc/net/tcp or tcp6 (proc(5)): addresses are 32-bit words in the host's byte order."""
    found: list[Listener] = []
    for line in table.splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state != _LISTEN:
            continue
        words, _, port = local.partition(":")
        numbers = [int(words[start : start + 8], 16) for start in range(0, len(words), 8)]
        address = ipaddress.ip_address(struct.pack(f"={len(numbers)}I", *numbers))
        if address != _EMBEDDED_DNS:
            found.append(Listener(int(port, 16), address.is_loopback))
    return found
