"""A redeploy while requests keep coming: how many fail, and how long they take."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.load import Hey, Wrk, failures, latencies, start_hey, wrk
from bench.measuring import BenchError, rounds, shown, table, target
from bench.sandbox import Sandbox, sandbox

_CALM_SECONDS = 2.0
_LOAD_SECONDS = 6
_WORKERS, _RATE = 4, 50


@dataclass
class _Hey:
    """All that hey saw, over all rounds."""

    kept_p99_before: list[float] = field(default_factory=list)
    kept_p99_during: list[float] = field(default_factory=list)
    kept: int = 0
    fresh: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list)


def measure() -> None:
    """With hey, on kept and on fresh connections, at a steady rate; and with wrk, which sends all it can."""
    with sandbox() as here:
        host = here.deploy("--branch", "main")[1]["host"]
        _under_hey(here, host)
        _under_wrk(here, host)


def _under_hey(here: Sandbox, host: str) -> None:
    seen = _Hey()
    for number in rounds(5, 50):
        here.commit(f"hey-{number}")
        kept = start_hey(here.port, host, _LOAD_SECONDS, "-o", "csv", workers=_WORKERS, rate=_RATE)
        fresh = start_hey(here.port, host, _LOAD_SECONDS, "-disable-keepalive", workers=_WORKERS, rate=_RATE)
        try:
            time.sleep(_CALM_SECONDS)
            begun = time.monotonic()
            here.deploy()
            ended = time.monotonic()
            if ended > kept.begun + _LOAD_SECONDS:
                raise BenchError(f"the deploy took {ended - begun:.1f} s, longer than the load")
            _read(seen, kept, fresh, begun, ended)
        finally:
            for hey in (kept, fresh):
                hey.process.kill()
                hey.process.wait()
    _tell(seen)


def _read(seen: _Hey, kept: Hey, fresh: Hey, begun: float, ended: float) -> None:
    asked = latencies(kept)
    seen.kept += len(asked)
    seen.kept_p99_before.append(_p99([took for at, took in asked if kept.begun + 0.5 < at < begun]))
    seen.kept_p99_during.append(_p99([took for at, took in asked if begun <= at <= ended]))
    sent, failed = failures(fresh)
    seen.fresh += sent
    seen.failed += failed
    seen.seconds.append(ended - begun)


def _tell(seen: _Hey) -> None:
    times = [during / before for during, before in zip(seen.kept_p99_during, seen.kept_p99_before, strict=True)]
    print(
        f"  hey, {2 * _WORKERS * _RATE} requests/s; {len(times)} redeploys of {shown(seen.seconds)} s, "
        "each until the old release was gone"
    )
    table(
        ("", "before", "during", "times"),
        [("p99, ms", shown(seen.kept_p99_before), shown(seen.kept_p99_during), shown(times))],
    )
    print(
        f"  kept connections:  {seen.kept} answers (hey sends a request again whose connection was closed unanswered)"
    )
    how = "".join(f"; {count} by {what}" for what, count in seen.failed.items())
    print(f"  fresh connections: {seen.fresh} requests, {seen.failed.total()} failed{how}")
    target("failed requests", seen.failed.total(), at_most=0)
    print()


def _under_wrk(here: Sandbox, host: str) -> None:
    calm: list[Wrk] = []
    switched: list[Wrk] = []
    for number in rounds(3, 40):
        calm.append(wrk(f"127.0.0.1:{here.port}", host, 3, connections=8))
        here.commit(f"wrk-{number}")
        with ThreadPoolExecutor(1) as other:
            load = other.submit(wrk, f"127.0.0.1:{here.port}", host, _LOAD_SECONDS, 8)
            time.sleep(1)
            here.deploy()
            switched.append(load.result())
    times = [during.p99 / before.p99 for during, before in zip(switched, calm, strict=True)]
    print(f"  wrk, all that 8 connections can send; {len(switched)} redeploys")
    table(
        ("", "before", "with a redeploy", "times"),
        [
            ("p99, ms", shown([each.p99 for each in calm]), shown([each.p99 for each in switched]), shown(times)),
            ("requests", str(sum(each.requests for each in calm)), str(sum(each.requests for each in switched)), ""),
            ("answers not 2xx or 3xx", *(str(sum(each.refused for each in side)) for side in (calm, switched)), ""),
            ("connections closed", *(str(sum(each.broken for each in side)) for side in (calm, switched)), ""),
        ],
    )
    if sum(each.broken for each in switched):
        print(
            "  A server may close a connection that is idle (RFC 9112, section 9.3.1). Browsers and HTTP clients then"
        )
        print("  send a request again that got no answer; wrk does not.")
    print()


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
