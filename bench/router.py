"""Requests through the router, against the container itself, a hand-written Caddyfile, nginx and HAProxy."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Wrk, start_server, stop, wait_until_answering, wrk
from bench.measuring import processor_seconds, ratios, rounds, shown, table, target
from bench.sandbox import Sandbox, free_port, sandbox
from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.program import find_caddy
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.settings.platform import PlatformSettings
from branchline.settings.platform import Router as RouterSettings

_MANY = 500
_SECONDS = 2
_NOWHERE = "192.0.2.1:8000"  # RFC 5737: nobody is there, and nobody is asked for it here


@dataclass
class _Contender:
    """One way to the container."""

    name: str
    port: str
    """Where it listens, as `address:port`."""
    pid: int | None
    runs: list[Wrk] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Microseconds a request."""

    @property
    def rates(self) -> list[float]:
        return [each.rate for each in self.runs]


def measure() -> None:
    """All of them lead to one container; each but the first also knows 1 or 500 environments by their hosts."""
    with sandbox() as here:
        host = here.deploy("--branch", "main")[1]["host"]
        upstream = here.address("main")
        with _contenders(here, host, upstream) as contenders:
            for contender in contenders:
                wait_until_answering(contender.port, host, "release 0")
                wrk(contender.port, host, 1)
            for number in rounds(5, 90):
                for position in range(len(contenders)):
                    _one(contenders[(number + position) % len(contenders)], host)
            _tell({contender.name: contender for contender in contenders})


def _one(contender: _Contender, host: str) -> None:
    before = processor_seconds(contender.pid) if contender.pid else 0.0
    done = wrk(contender.port, host, _SECONDS)
    contender.runs.append(done)
    if contender.pid:
        contender.processor.append((processor_seconds(contender.pid) - before) / done.requests * 1e6)


def _tell(found: dict[str, _Contender]) -> None:
    print(f"  wrk with 32 connections, {_SECONDS} s a run, {len(found['container'].runs)} rounds in turns")
    table(
        ("", "requests/s", "p99, ms", "processor us/request", "failed"),
        [
            (
                each.name,
                shown(each.rates, "{:.0f}"),
                shown([run.p99 for run in each.runs], "{:.1f}"),
                shown(each.processor, "{:.0f}") if each.processor else "-",
                str(sum(run.broken + run.refused for run in each.runs)),
            )
            for each in found.values()
        ],
    )
    for count in (1, _MANY):
        ours, bare = found[f"Branchline, {count}"], found[f"Caddyfile, {count}"]
        rate, work = ratios(ours.rates, bare.rates), ratios(ours.processor, bare.processor)
        least = min(ours.processor), min(bare.processor)
        print(f"  {count}: processor time a request, times the Caddyfile's: {shown(work)}; ", end="")
        print(f"at best {least[0]:.0f} against {least[1]:.0f} us")
        what = f"{count}: requests/s, times the bare Caddyfile's ({min(rate):.2f}-{max(rate):.2f})"
        target(what, statistics.median(rate), at_least=0.95)


@contextmanager
def _contenders(here: Sandbox, host: str, upstream: str) -> Iterator[list[_Contender]]:
    """Within the block, all of them run."""
    others = [f"{'a' if number % 2 else 'z'}-{number}--shop.localhost" for number in range(1, _MANY)]
    hosts = sorted([host, *others])
    routes = [Route(name, State.READY, upstream if name == host else _NOWHERE, name, "shop") for name in hosts]
    ours = [route for route in routes if route.host == host]
    servers: list[subprocess.Popen[bytes]] = []
    routers: list[Router] = []

    def router(count: int, listed: list[Route]) -> _Contender:
        port = free_port()
        settings = PlatformSettings(platform=here.platform, router=RouterSettings(http_port=port))
        process = Router(settings, here.directory / f"router-{count}")
        routers.append(process)
        with process.lock():
            process.apply(listed)
        return _Contender(f"Branchline, {count}", f"127.0.0.1:{port}", process.status().pid)

    def server(name: str, arguments: list[str | Path], config: str, port: int) -> _Contender:
        file = here.directory / name.replace(", ", "-")
        file.write_text(config)
        process = start_server([*arguments, file], file.with_suffix(".log"))
        servers.append(process)
        return _Contender(name, f"127.0.0.1:{port}", process.pid)

    def caddy(name: str, listed: list[Route]) -> _Contender:
        port = free_port()
        command = [find_caddy(), "run", "--adapter", "caddyfile", "--config"]
        return server(name, command, _caddyfile(listed, port), port)

    try:
        found = [
            _Contender("container", upstream, None),
            caddy("Caddyfile, 1", ours),
            router(1, ours),
            caddy(f"Caddyfile, {_MANY}", routes),
            router(_MANY, routes),
        ]
        port = free_port()
        found.append(server(f"nginx, {_MANY}", ["nginx", "-g", "daemon off;", "-c"], _nginx(here, routes, port), port))
        port = free_port()
        (here.directory / "hosts.map").write_text("".join(f"{route.host} {route.host}\n" for route in routes))
        found.append(server(f"HAProxy, {_MANY}", ["haproxy", "-db", "-f"], _haproxy(here, routes, port), port))
        yield found
    finally:
        for process in servers:
            stop(process)
        for process in routers:
            with process.lock():
                process.stop()


def _caddyfile(routes: list[Route], port: int) -> str:
    """As somebody would write it who had nothing but this to serve."""
    sites = "".join(f"http://{route.host}:{port} {{\n\treverse_proxy {route.upstream}\n}}\n" for route in routes)
    return "{\n\tadmin off\n}\n" + sites


def _nginx(here: Sandbox, routes: list[Route], port: int) -> str:
    servers = "".join(
        f"upstream u{number} {{ server {route.upstream}; keepalive 64; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=1024; server_name {route.host};\n"
        f"  location / {{ proxy_pass http://u{number}; proxy_http_version 1.1; proxy_set_header Connection '';"
        " proxy_set_header Host $host; } }\n".replace(" backlog=1024" if number else "\0", "")
        for number, route in enumerate(routes)
    )
    return (
        f"worker_processes {os.cpu_count()};\nuser root;\npid {here.directory}/nginx.pid;\nerror_log stderr error;\n"
        "events { worker_connections 4096; }\n"
        "http {\naccess_log off; keepalive_requests 1000000; server_names_hash_bucket_size 128;"
        f" server_names_hash_max_size 4096;\n{servers}}}\n"
    )


def _haproxy(here: Sandbox, routes: list[Route], port: int) -> str:
    backends = "".join(f"backend {route.host}\n  server s {route.upstream}\n" for route in routes)
    return (
        "global\n  maxconn 4096\n"
        "defaults\n  mode http\n  http-reuse always\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n"
        f"frontend here\n  bind 127.0.0.1:{port}\n"
        f"  use_backend %[req.hdr(host),lower,map({here.directory}/hosts.map)]\n{backends}"
    )
