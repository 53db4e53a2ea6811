"""The Lambda function's code: a zip of Branchline's own files. The runtime has boto3, and no more is needed."""

from __future__ import annotations

import io
import zipfile
from importlib import resources
from importlib.resources.abc import Traversable

_ROOMS = ("forges", "forges/api", "functions", "notifiers")
"""The rooms that the function uses, beside the modules at the top of the package."""
_OF_ENGINE = (
    "__init__",
    "aws",
    "base",
    "bookmarks",
    "estate",
    "image_store",
    "inventory",
    "lease",
    "lease_queue",
    "lease_records",
    "lease_table",
    "leftovers",
    "log_groups",
    "names",
    "parallel",
    "removal",
    "routing",
    "services",
    "sizes",
    "specs",
    "tags",
    "webhook_secret",
)
"""Of this room, what looks and removes. The others deploy, or are the operator's, and the runtime lacks what they need.
"""
_AT_THE_TOP = ("__main__", "platform")
"""At the package's top, what the function has no use for, for the same reason."""
_INDEX = '"""What Lambda calls."""\n\nfrom branchline.functions.entry import handler  # noqa: F401\n'
_MOMENT = (2020, 1, 1, 0, 0, 0)
"""Every file's time in the zip: the same files make the same zip, by which it is told that nothing changed."""


def function_code() -> bytes:
    """The zip. The function's handler is `index.handler`."""
    package = resources.files("branchline")
    files = {"index.py": _INDEX.encode(), "branchline/engines/__init__.py": b""} | _modules(package, "branchline")
    for module in _AT_THE_TOP:
        del files[f"branchline/{module}.py"]
    for room in _ROOMS:
        files |= _modules(package.joinpath(room), f"branchline/{room}")
    engine = _modules(package.joinpath("engines/ecs"), "branchline/engines/ecs")
    files |= {name: engine[name] for name in (f"branchline/engines/ecs/{module}.py" for module in _OF_ENGINE)}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return made.getvalue()


def _modules(directory: Traversable, where: str) -> dict[str, bytes]:
    return {f"{where}/{item.name}": item.read_bytes() for item in directory.iterdir() if item.name.endswith(".py")}
