"""`python -m bench [NAME...]`: runs the named benchmarks, or all of them.

A target that is missed fails nothing, since machines differ; the exit code is 1 only where a benchmark itself broke.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from types import FrameType
from typing import NoReturn

_BENCHES = {
    "cold-start": "How long commands take that do next to nothing",
    "deploy": "A first deploy, against bare docker build + docker run + first 200",
    "redeploy": "A redeploy under steady load",
    "router": "Requests through the router, against the container itself and other routers",
    "scale": "Commands with 10, 100 and 500 environments",
    "aws": "Deploys to Amazon ECS against other ways to the same, and the calls that they take",
    "webhook": "A branch's deletion by webhook on Amazon ECS, against a script that knows all names",
}


def main(names: list[str]) -> int:
    """Runs them one after the other; returns the exit code."""
    unknown = [name for name in names if name not in _BENCHES]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(_BENCHES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)  # so that everything is cleaned up
    print(_machine())
    broken: list[str] = []
    for name in names or _BENCHES:
        print(f"\n== {name}: {_BENCHES[name]}", flush=True)
        measure: Callable[[], None] = import_module(f"bench.{name.replace('-', '_')}").measure
        begun = time.monotonic()
        try:
            measure()
        except Exception:  # noqa: BLE001 - whatever it is, the others are still worth running
            traceback.print_exc()
            broken.append(name)
        print(f"  ({time.monotonic() - begun:.0f} s)", flush=True)
    if broken:
        print(f"\nbroken: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _machine() -> str:
    """What the figures depend on."""
    import docker

    from bench.measuring import run
    from branchline.engines.docker.router.program import find_caddy

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    caddy = run([find_caddy(), "version"]).out.split()[0].removeprefix("v")
    load, _, _ = os.getloadavg()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {os.cpu_count()} processors, {memory:.0f} GiB, {system}, "
        f"Docker Engine {docker.from_env().version()['Version']}, Caddy {caddy}, Python {platform.python_version()}, "
        f"load average {load:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
