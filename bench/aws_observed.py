"""`python aws_observed.py FILE COMMAND...`: runs `branchline COMMAND...`, and writes what it asked of AWS as JSON.

`calls`: how many calls, retries not counted. `waiting`: how many of them were made while it waited for a release to
serve, and how many in other threads meanwhile, which are signs of life: their number depends on the time that takes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Counts as `Aws` itself does."""
    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    from branchline.engines.ecs import rollout
    from branchline.engines.ecs.aws import Aws

    made: list[Aws] = []
    waiting = 0
    begin, wait = Aws.__init__, rollout.wait

    def remember(self: Aws, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        made.append(self)

    def watch(aws: Aws, *arguments: Any, **options: Any) -> None:
        nonlocal waiting
        before = aws.calls.total()
        try:
            wait(aws, *arguments, **options)
        finally:
            waiting += aws.calls.total() - before

    Aws.__init__ = remember
    rollout.wait = watch
    from branchline.cli.main import main as branchline

    try:
        branchline()
    finally:
        calls = sum(aws.calls.total() for aws in made)
        operations = {name: count for aws in made for name, count in aws.calls.items()}
        file.write_text(json.dumps({"calls": calls, "waiting": waiting, "operations": operations}))


if __name__ == "__main__":
    main()
