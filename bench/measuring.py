"""Running commands with a stopwatch, and saying what came out of it."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BenchError(Exception):
    """A benchmark can't be run, or what it measures doesn't work."""


@dataclass(frozen=True)
class Run:
    """One command, run to its end."""

    seconds: float
    processor: float
    """Seconds of processor time, its children's included."""
    out: str


def run(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
    """Runs a command that has to succeed.

    Raises:
        BenchError: it didn't; with what it printed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            said = (out.read() + errors.read()).decode(errors="replace")
            raise BenchError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, out.read().decode())


def rounds(count: int, seconds: float) -> Iterator[int]:
    """Numbers of rounds: `count` of them, fewer if the time is up before, but always one."""
    end = time.monotonic() + seconds
    for number in range(count):
        if number and time.monotonic() > end:
            print(f"  (time was up after {number} of {count} rounds)")
            return
        yield number


def processor_seconds(pid: int) -> float:
    """The processor time that a process and its children, such as nginx's workers, have used so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime: proc(5), less two fields
    return own + sum(processor_seconds(int(child)) for child in children)


def shown(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, with the least and the most."""
    low, high = min(values), max(values)
    middle = form.format(statistics.median(values))
    return middle if low == high else f"{middle} ({form.format(low)}-{form.format(high)})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round, so that what the machine did besides at the time weighs on both sides."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints aligned columns: the first one to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    for row in (head, rule, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print(("  " + "  ".join(cells)).rstrip())
    print(flush=True)


def target(what: str, figure: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
    """Says whether a figure is what the project wants it to be. One that isn't fails nothing: machines differ."""
    if at_most is not None:
        held, wanted = figure <= at_most, f"at most {at_most:g}"
    else:
        held, wanted = figure >= (at_least or 0.0), f"at least {at_least or 0.0:g}"
    print(f"  {'met   ' if held else 'MISSED'}  {what}: {figure:.2f}, wanted {wanted}", flush=True)
