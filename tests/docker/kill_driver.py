"""Runs the command line, and kills it with SIGKILL at a chosen point: python -m tests.docker.kill_driver WHAT N ARGS…

WHAT is `event` (as the N-th event is published) or `call` (as the N-th answer of the engine has come). With a file name
in KILL_COUNT, the number of points that were passed is written there when the command ends by itself.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import docker

from branchline.cli import main
from branchline.phases import Stopwatch


def pass_point(state: dict[str, int], last: int) -> None:
    state["passed"] += 1
    if state["passed"] == last:
        os.kill(os.getpid(), signal.SIGKILL)


def run(what: str, last: int, arguments: list[str]) -> None:
    state = {"passed": 0}
    if what == "event":
        listening = Stopwatch.listening

        def listening_and_killing(watch: Stopwatch, publish: Callable[[Any], None]) -> Callable[[Any], None]:
            def heard(event: Any) -> None:
                publish(event)
                pass_point(state, last)

            return listening(watch, heard)

        Stopwatch.listening = listening_and_killing  # type: ignore[method-assign]
    else:
        send: Any = docker.APIClient.send

        def send_and_die(client: docker.APIClient, *args: Any, **options: Any) -> Any:
            answer = send(client, *args, **options)
            pass_point(state, last)
            return answer

        docker.APIClient.send = send_and_die  # type: ignore[method-assign]
    sys.argv = ["branchline", *arguments]
    try:
        main.main()
    finally:
        if "KILL_COUNT" in os.environ:
            with open(os.environ["KILL_COUNT"], "w") as file:
                file.write(str(state["passed"]))


run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
