"""Prints what `branchline deploy --json` wrote to a file as a step's outputs, one `name=value` a line.

Run by action.yml. A deploy that was superseded by a newer commit has none.
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#setting-an-output-parameter
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(file: str) -> None:
    document = json.loads(Path(file).read_text(encoding="utf-8"))
    if "url" not in document:
        return
    outputs = {
        "url": document["url"],
        "commit": document["commit"],
        "release": document["release"]["number"],
        "seconds": document["seconds"]["total"],
    }
    sys.stdout.writelines(f"{name}={value}\n" for name, value in outputs.items())


if __name__ == "__main__":
    main(sys.argv[1])
