"""Load by wrk and hey, from this machine to this machine, for a bounded time."""

from __future__ import annotations

import csv
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import BenchError, run

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_READY_SECONDS = 15.0


@dataclass(frozen=True)
class Wrk:
    """What wrk saw: connections that are kept, a request sent as soon as the last one is answered, no retries."""

    requests: int
    rate: float
    """Requests a second."""
    p99: float
    """Milliseconds."""
    broken: int
    """Connections that broke, each with a request that wrk doesn't send again, and requests that timed out."""
    refused: int
    """Answers other than 2xx and 3xx."""


def wrk(port: str, host: str, seconds: int, connections: int = 32) -> Wrk:
    """Asks `port` (`address:port`) for `host` for some whole seconds."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency"),
        *("--timeout", "10s", "--header", f"Host: {host}", f"http://{port}/"),
    ]
    return read_wrk(run(command).out)


def read_wrk(text: str) -> Wrk:
    """What wrk printed."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    requests = re.search(r"(\d+) requests in", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if not (rate and requests and p99):
        raise BenchError(f"wrk printed something else than was expected:\n{text}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Wrk(
        requests=int(requests[1]),
        rate=float(rate[1]),
        p99=float(p99[1]) * _UNITS[p99[2]],
        broken=sum(int(count) for count in errors.groups()) if errors else 0,
        refused=int(refused[1]) if refused else 0,
    )


@dataclass(frozen=True)
class Hey:
    """hey while it runs, at a steady rate."""

    process: subprocess.Popen[str]
    begun: float
    """When, by time.monotonic."""


def start_hey(port: int, host: str, seconds: int, *arguments: str, workers: int = 4, rate: int = 25) -> Hey:
    """Starts hey for some seconds; each worker sends `rate` requests a second."""
    command = ["hey", "-z", f"{seconds}s", "-c", str(workers), "-q", str(rate), "-t", "10", "-host", host, *arguments]
    command.append(f"http://127.0.0.1:{port}/")
    begun = time.monotonic()
    return Hey(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True), begun)


def failures(hey: Hey) -> tuple[int, Counter[str]]:
    """How many requests hey sent, and how many of them failed in which way."""
    text, _ = hey.process.communicate(timeout=60)
    answers = {code: int(count) for code, count in re.findall(r"\[(\d{3})\]\t(\d+) responses", text)}
    failed = Counter({f"status {code}": count for code, count in answers.items() if code != "200"})
    # Below this heading only: the histogram's lines look alike. Each error begins with the addresses it concerns.
    for count, what in re.findall(r"\[(\d+)\]\t(.+)", text.partition("Error distribution:")[2]):
        failed[what.rpartition(": ")[2]] += int(count)
    sent = sum(answers.values()) + sum(count for what, count in failed.items() if not what.startswith("status "))
    return sent, failed


def latencies(hey: Hey) -> list[tuple[float, float]]:
    """Of each request that hey reports with `-o csv`: when it was sent, by time.monotonic, and its milliseconds."""
    text, _ = hey.process.communicate(timeout=60)
    rows = csv.DictReader(text.splitlines())
    return [(hey.begun + float(row["offset"]), float(row["response-time"]) * 1000) for row in rows]


def wait_until_answering(port: str, host: str, expected: str = "") -> None:
    """Returns once 200 comes back, with the expected text in it.

    Raises:
        BenchError: it doesn't within 15 s.
    """
    import http.client

    end = time.monotonic() + _READY_SECONDS
    while True:
        connection = http.client.HTTPConnection(port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": host})
            answer = connection.getresponse()
            said = f"{answer.status} {answer.read().decode()}"
            if answer.status == 200 and expected in said:
                return
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        if time.monotonic() > end:
            raise BenchError(f"{host} at {port} does not answer with 200 and {expected!r} but with: {said}")
        time.sleep(0.002)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a server that was started here."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_server(command: list[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Starts a server; what it prints goes to `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
