"""Tells when a part of a deploy begins and ends, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from branchline.environment import EnvironmentId
from branchline.events import Event, Phase, PhaseFinished, PhaseStarted, Publish


@dataclass(slots=True)
class Running:
    """A part of the deploy that is going on; what is worth saying about it may turn out on the way."""

    detail: str = ""


@contextmanager
def phase(environment: EnvironmentId, part: Phase, publish: Publish, detail: str = "") -> Generator[Running]:
    """Within the block that part runs. A block that raises did not finish, and whoever catches it says so."""
    publish(PhaseStarted(environment, part))
    begun = time.monotonic()
    running = Running(detail)
    yield running
    publish(PhaseFinished(environment, part, time.monotonic() - begun, running.detail))


@dataclass(slots=True)
class Stopwatch:
    """Sums up the seconds of each phase, and of the whole since it was made."""

    _begun: float = field(default_factory=time.monotonic)
    _seconds: dict[str, float] = field(default_factory=dict[str, float])

    def listening(self, publish: Publish) -> Publish:
        """`publish`, with this stopwatch listening."""

        def heard(event: Event) -> None:
            if isinstance(event, PhaseFinished):
                self._seconds[event.phase.value] = round(event.seconds, 3)
            publish(event)

        return heard

    def read(self) -> dict[str, float]:
        """Seconds by phase so far, and `total`, waiting included."""
        return {**self._seconds, "total": round(time.monotonic() - self._begun, 3)}
