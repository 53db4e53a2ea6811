"""Routes and settings as Caddy's JSON. Nothing here does I/O.

How a request finds its upstream: a `map` handler turns the host into the upstream, the state and the names, and the
`vars` handler keeps the upstream, since each use of a map's output searches the map again, one entry after the other
(8.5 ns each, measured). So beyond a hundred hosts the map is cut into parts, and a host matcher, which searches its
list in halves, chooses the part. One wildcard route with a map reloads and serves faster than a route for each host.

What is left at Caddy's defaults, on purpose: `flush_interval`, since Caddy already flushes event streams and responses
of unknown length at once, while -1 would go on reading from the upstream after the visitor has left; `grace_period`,
without which a reload waits for requests in flight for as long as they take; the `Server` and `Via` headers, because
taking them out costs every request something and hides nothing.
"""

from __future__ import annotations

import os
import shlex
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from branchline.engines.docker.router import pages
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.errors import ConfigurationError
from branchline.settings.platform import PlatformSettings

ENVIRONMENTS = "environments"
"""The Caddy server that serves the environments."""
REDIRECT = "redirect"
"""The Caddy server that sends HTTP to HTTPS, where that is on."""

LOG_NAME = "router.log"
"""Caddy's log, in the router's directory."""

_SOCKET_PATH_LENGTH = 107  # bytes; sun_path in <sys/un.h> is 108 with its closing zero
_MAP_LENGTH = 100  # entries; host matchers search longer lists than this in halves
_PART_LENGTH = 150  # entries; the fastest for 500 to 1,000 hosts
_STREAM_CLOSE_DELAY = "24h"  # otherwise each reload would end every WebSocket
_DIAL_TIMEOUT = "1s"  # a stopped container's address doesn't refuse: it times out
_HANDOVER = "100ms"
"""How long the server with the old routes goes on beside the one with the new, so that its visitors can be let go."""
_LET_GO: dict[str, object] = {
    "match": [{"vars": {"{http.shutting_down}": ["true"]}, "not": [{"header": {"Upgrade": ["*"]}}]}],
    "handle": [{"handler": "headers", "response": {"deferred": True, "set": {"Connection": ["close"]}}}],
}
"""Tells a visitor's kept connection to end with this answer, before the server ends it without one."""
_UPSTREAM = "upstream"
_NO_UPSTREAM: dict[str, object] = {"vars": {_UPSTREAM: [""]}}
_KEEP_UPSTREAM: dict[str, object] = {"handler": "vars", _UPSTREAM: "{branchline.upstream}"}
_STATE_PAGES = {
    State.BUILDING: pages.BUILDING,
    State.STARTING: pages.STARTING,
    State.FAILED: pages.FAILED,
    State.SLEEPING: pages.SLEEPING,
}


def socket_path(directory: Path) -> Path:
    """The admin API's unix socket.

    Raises:
        ConfigurationError: the directory's path is too long for one.
    """
    path = directory / "admin.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_LENGTH:
        raise ConfigurationError(
            f"the router's socket can't be in {directory}: its path would have more than {_SOCKET_PATH_LENGTH} bytes",
            remedy="set state_dir in platform.toml, or BRANCHLINE_STATE_DIR, to a directory with a shorter path",
        )
    return path


def addresses(settings: PlatformSettings, port: int, *, ipv6: bool) -> list[str]:
    """Where the router listens for `port`, as `host:port`; an empty host is every address.

    `ipv6` says whether the machine has the loopback address ::1.
    """
    bind = settings.router.bind.strip("[]")
    if bind:
        return [f"[{bind}]:{port}" if ":" in bind else f"{bind}:{port}"]
    if settings.domain == "localhost":
        return [f"127.0.0.1:{port}", *([f"[::1]:{port}"] if ipv6 else [])]
    return [f":{port}"]


def wanted(settings: PlatformSettings, *, ipv6: bool) -> list[str]:
    """Every address that the router listens on."""
    ports = [settings.router.http_port]
    if settings.router.https != "off":
        ports.append(settings.router.https_port)
    return [address for port in ports for address in addresses(settings, port, ipv6=ipv6)]


def _literal(text: str) -> str:
    """The text with its braces escaped. A branch may be named `{file./etc/passwd}`, which Caddy would fill in."""
    return text.replace("{", "\\{")


def _mapping(route: Route) -> dict[str, object]:
    branch = shlex.quote(route.branch) if route.branch else "BRANCH"
    upstream = route.upstream if route.state is State.READY else ""
    return {
        "input": route.host,
        "outputs": [upstream, route.state.value, _literal(branch), _literal(route.project)],
    }


def _map(routes: Sequence[Route]) -> list[dict[str, object]]:
    names = ("upstream", "state", "branch", "project")
    return [
        {
            "handler": "map",
            "source": "{http.request.host}",
            "destinations": [f"{{branchline.{name}}}" for name in names],
            "mappings": [_mapping(route) for route in routes],
        },
        _KEEP_UPSTREAM,
    ]


def _lookup(routes: Sequence[Route]) -> list[dict[str, object]]:
    """The routes that find a host's upstream, and serve nothing yet."""
    if len(routes) <= _MAP_LENGTH:
        return [{"handle": _map(routes)}]
    parts = -(-len(routes) // _PART_LENGTH)
    length = -(-len(routes) // parts)
    return [
        {
            "group": "hosts",
            "match": [{"host": [route.host for route in routes[start : start + length]]}],
            "handle": _map(routes[start : start + length]),
        }
        for start in range(0, len(routes), length)
    ]


def _answers() -> list[dict[str, object]]:
    """The routes for a request whose host has no upstream, at least not as it is written."""
    lower = [{"search": upper, "replace": upper.lower()} for upper in string.ascii_uppercase]
    states = [
        page_route
        for state, page in _STATE_PAGES.items()
        for page_route in pages.routes(page, {"vars": {"{branchline.state}": [state.value]}})
    ]
    unknown = pages.routes(pages.UNKNOWN)
    return [
        # Hosts are case-insensitive (RFC 9110, section 4.2.3), and maps are not.
        {
            "match": [{"header_regexp": {"Host": {"pattern": "[A-Z]"}}}],
            "handle": [{"handler": "headers", "request": {"replace": {"Host": lower}}}, _KEEP_UPSTREAM],
        },
        # The same host, written as an absolute name.
        {
            "match": [{"header_regexp": {"Host": {"name": "absolute", "pattern": r"^([^:]+)\.(:[0-9]+)?$"}}}],
            "handle": [
                {
                    "handler": "static_response",
                    "status_code": "308",
                    "headers": {
                        **pages.NOINDEX,
                        "Location": [
                            "{http.request.scheme}://{http.regexp.absolute.1}{http.regexp.absolute.2}{http.request.uri}"
                        ],
                    },
                }
            ],
            "terminal": True,
        },
        {
            "match": [_NO_UPSTREAM],
            "handle": [{"handler": "subroute", "routes": [*states, *unknown]}],
            "terminal": True,
        },
    ]


def _proxy() -> dict[str, object]:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{{http.vars.{_UPSTREAM}}}"}],
        "stream_close_delay": _STREAM_CLOSE_DELAY,
        # An operator's HTTP_PROXY is for the way out (ACME), never for the way to a container.
        "transport": {"protocol": "http", "dial_timeout": _DIAL_TIMEOUT, "network_proxy": {"from": "none"}},
        "headers": {"response": {"set": pages.NOINDEX}},
    }


def _errors() -> list[dict[str, object]]:
    unreachable = {"vars": {"{http.error.status_code}": ["502", "503", "504"]}}
    other = {"handler": "static_response", "status_code": "{http.error.status_code}", "headers": pages.NOINDEX}
    return [*pages.routes(pages.UNREACHABLE, unreachable), {"handle": [other]}]


def _environments(routes: Sequence[Route]) -> dict[str, object]:
    return {
        "automatic_https": {"disable": True},
        "routes": [
            _LET_GO,
            *_lookup(routes),
            {"match": [_NO_UPSTREAM], "handle": [{"handler": "subroute", "routes": _answers()}]},
            {"handle": [_proxy()]},
        ],
        "errors": {"routes": _errors()},
    }


def _redirect(https_port: int) -> dict[str, object]:
    port = "" if https_port == 443 else f":{https_port}"
    location = f"https://{{http.request.host}}{port}{{http.request.uri}}"
    return {
        "protocols": ["h1", "h2c"],
        "automatic_https": {"disable": True},
        "routes": [
            {
                "handle": [
                    {
                        "handler": "static_response",
                        "status_code": "308",
                        "headers": {**pages.NOINDEX, "Location": [location]},
                    }
                ]
            }
        ],
    }


def _internal_certificates(domains: Sequence[str]) -> dict[str, object]:
    """One wildcard certificate a domain, from Caddy's own authority.

    OpenSSL and browsers refuse a wildcard directly below a top-level name, such as `*.localhost`. Hosts there get a
    certificate each, at their first visit.
    """
    issuers = [{"module": "internal"}]
    wildcards = [f"*.{domain}" for domain in domains if "." in domain]
    single = [f"*.{domain}" for domain in domains if "." not in domain]
    policies: list[dict[str, object]] = []
    if wildcards:
        policies.append({"subjects": wildcards, "issuers": issuers})
    if single:
        policies.append({"subjects": single, "issuers": issuers, "on_demand": True})
    return {"automation": {"policies": policies}, "certificates": {"automate": wildcards}}


def _acme_certificates(settings: PlatformSettings, hosts: Sequence[str]) -> dict[str, object]:
    router = settings.router
    issuer: dict[str, object] = {
        "module": "acme",
        "challenges": {
            "http": {"alternate_port": router.http_port},
            "tls-alpn": {"alternate_port": router.https_port},
        },
    }
    if router.acme_directory:
        issuer["ca"] = router.acme_directory
    if router.acme_email:
        issuer["email"] = router.acme_email
    if router.acme_root:
        issuer["trusted_roots_pem_files"] = [router.acme_root]
    return {"automation": {"policies": [{"issuers": [issuer]}]}, "certificates": {"automate": list(hosts)}}


def _apps(
    routes: Sequence[Route], settings: PlatformSettings, descriptors: Mapping[str, int], *, ipv6: bool
) -> dict[str, object]:
    def listen(port: int) -> list[str]:
        found = addresses(settings, port, ipv6=ipv6)
        return [f"fd/{descriptors[address]}" if address in descriptors else address for address in found]

    router = settings.router
    http = listen(router.http_port)
    environments = _environments(routes)
    if router.https == "off":
        servers = {ENVIRONMENTS: {"listen": http, "protocols": ["h1", "h2c"], **environments}}
        return {"http": {"shutdown_delay": _HANDOVER, "servers": servers}}
    if router.http_port == router.https_port:
        raise ConfigurationError(
            f"router.http_port and router.https_port are both {router.http_port}",
            remedy="give one of them another port in platform.toml",
        )
    https: dict[str, object] = {
        "listen": listen(router.https_port),
        "protocols": ["h1", "h2"],
        "tls_connection_policies": [{}],
        **environments,
    }
    apps: dict[str, object] = {
        "http": {
            "http_port": router.http_port,
            "https_port": router.https_port,
            "shutdown_delay": _HANDOVER,
            "servers": {ENVIRONMENTS: https, REDIRECT: {"listen": http, **_redirect(router.https_port)}},
        }
    }
    hosts = [route.host for route in routes]
    if router.https == "acme":
        return {**apps, "tls": _acme_certificates(settings, hosts)}
    domains = sorted({settings.domain.lower(), *(host.partition(".")[2] for host in hosts)})
    authority = {"certificate_authorities": {"local": {"install_trust": False}}}
    return {**apps, "tls": _internal_certificates(domains), "pki": authority}


def render(
    routes: Sequence[Route],
    settings: PlatformSettings,
    directory: Path,
    *,
    ipv6: bool = True,
    descriptors: Mapping[str, int] | None = None,
) -> dict[str, object]:
    """The whole of Caddy's configuration. The order of the routes makes no difference to it.

    `directory` is where Caddy keeps its files; `ipv6` says whether the machine has the loopback address ::1;
    `descriptors` are the sockets that Caddy has inherited, by the address that each listens on.

    Raises:
        ConfigurationError: the settings ask for something that can't be.
    """
    by_host = {route.host.lower(): replace(route, host=route.host.lower()) for route in routes}
    ordered = [by_host[host] for host in sorted(by_host)]
    return {
        "admin": {"listen": f"unix/{socket_path(directory)}|0600", "config": {"persist": False}},
        "logging": {
            "logs": {
                "default": {
                    "level": "WARN",
                    "exclude": ["admin"],  # what it has to say, its answers say
                    "writer": {
                        "output": "file",
                        "filename": str(directory / LOG_NAME),
                        "mode": "0600",
                        "roll_size_mb": 10,
                        "roll_keep": 2,
                    },
                }
            }
        },
        "storage": {"module": "file_system", "root": str(directory / "storage")},
        "apps": _apps(ordered, settings, descriptors or {}, ipv6=ipv6),
    }
