"""The rules of the tree that no linter knows. Prints each breach and ends with 1 if there is one.

- A module of src has at most 400 lines: beyond that, one of its nouns deserves a module of its own.
- A file is named after what it holds, so none is called utils or the like.
- No file names a package registry's host, or a path of the machine that it was written on: both differ elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 400
NAMELESS = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "manager"})
# Each pattern brackets one character, so that this file doesn't hold what it forbids.
FORBIDDEN = {
    "a package registry's host": re.compile(
        rb"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|(?:deb|security)[.]debian[.]org"
    ),
    "a path of one machine": re.compile(rb"/wor[k]/|/roo[t]/|/home/runne[r]/"),
}


def files() -> list[Path]:
    """What git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    paths = {Path(os.fsdecode(name)) for name in listed.split(b"\0") if name}
    return sorted(path for path in paths if (ROOT / path).is_file())


def breaches(path: Path) -> list[str]:
    """What is wrong with one file."""
    content = (ROOT / path).read_bytes()
    found: list[str] = []
    lines = content.count(b"\n")
    if path.parts[0] == "src" and path.suffix == ".py" and lines > LONGEST:
        found.append(f"{path}: {lines} lines, at most {LONGEST}; which noun of it deserves a module of its own?")
    if path.stem in NAMELESS:
        found.append(f"{path}: a name that says nothing; name it after what it holds")
    for number, line in enumerate(content.split(b"\n"), start=1):
        found += [
            f"{path}:{number}: {what}: {match.group().decode()}"
            for what, pattern in FORBIDDEN.items()
            for match in pattern.finditer(line)
        ]
    return found


if __name__ == "__main__":
    everything = [breach for path in files() for breach in breaches(path)]
    print(*everything, sep="\n", end="\n" if everything else "")
    sys.exit(1 if everything else 0)
