"""`python aws_observed.py FILE COMMAND...`: runs `branchline COMMAND...`, and writes what it asked of AWS as JSON.

`calls`: how many calls it made, retries not counted. `waiting`: those that it made while it waited for a release to
serve; how many they are depends on how long that takes. Signs of life, which go on beside it, are in neither.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any


def main() -> None:
    """Counts as `Aws` itself does."""
    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    from branchline.engines.ecs import rollout
    from branchline.engines.ecs.aws import Aws

    begin, count, wait = Aws.__init__, Aws._count, rollout.wait
    made: list[Aws] = []
    signs = waiting = 0

    def remember(self: Aws, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        made.append(self)

    def counted(self: Aws, *arguments: Any, **options: Any) -> None:
        nonlocal signs
        signs += threading.current_thread().name == "lease"
        count(self, *arguments, **options)

    def calls() -> int:
        return sum(aws.calls.total() for aws in made) - signs

    def watch(*arguments: Any, **options: Any) -> None:
        nonlocal waiting
        before = calls()
        try:
            wait(*arguments, **options)
        finally:
            waiting += calls() - before

    Aws.__init__, Aws._count, rollout.wait = remember, counted, watch
    from branchline.cli.main import main as branchline

    try:
        branchline()
    finally:
        file.write_text(json.dumps({"calls": calls() - waiting, "waiting": waiting}))


if __name__ == "__main__":
    main()
