"""Our own request through the load balancer: what a visitor of the host would get, whatever DNS says already."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from branchline.engines.ecs.base import Base, LoadBalancer

if TYPE_CHECKING:
    from branchline.settings.platform import Ecs


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int | None
    """None where nothing did."""
    problem: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it is what a health check passes."""
        return self.status is not None and 200 <= self.status < 400

    def __str__(self) -> str:
        return f"answered {self.status}" if self.status is not None else self.problem


@dataclass(frozen=True, slots=True)
class Address:
    """Where a load balancer is reached, and the part of its paths that comes before the application's."""

    tls: bool
    host: str
    port: int
    prefix: str = ""


def address(settings: Ecs, base: Base, balancer: LoadBalancer) -> Address:
    """The load balancer's own DNS name, or what the operator set in its place."""
    if not settings.load_balancer:
        tls = base.scheme == "https"
        return Address(tls, balancer.dns, 443 if tls else 80)
    parts = urlsplit(settings.load_balancer.replace("{name}", balancer.name))
    tls = parts.scheme == "https"
    return Address(tls, parts.hostname or "", parts.port or (443 if tls else 80), parts.path.rstrip("/"))


def ask(where: Address, host: str, path: str, timeout: float) -> Answer:
    """One GET for the host's path; `timeout` is in seconds. The certificate has to be the host's."""
    connection = http.client.HTTPConnection(where.host, where.port, timeout=timeout)
    try:
        connection.sock = socket.create_connection((where.host, where.port), timeout)
        if where.tls:
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
        connection.request(
            "GET", where.prefix + path, headers={"Host": host, "User-Agent": "branchline", "Connection": "close"}
        )
        return Answer(connection.getresponse().status)
    except TimeoutError:
        return Answer(None, f"gave no answer within {timeout:g} s")
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"could not be asked: {error or type(error).__name__}")
    finally:
        connection.close()
