"""The Lambda function's code: a zip of Branchline's own files. The runtime has boto3, and no more is needed."""

from __future__ import annotations

import io
import zipfile
from importlib import resources
from importlib.resources.abc import Traversable

_ROOMS = ("engines/ecs", "forges", "forges/api", "functions", "notifiers")
"""The rooms that the function uses, beside the modules at the top of the package."""
_INDEX = '"""What Lambda calls."""\n\nfrom branchline.functions.entry import handler  # noqa: F401\n'
_MOMENT = (2020, 1, 1, 0, 0, 0)
"""Every file's time in the zip: the same files make the same zip, by which it is told that nothing changed."""


def function_code() -> bytes:
    """The zip. The function's handler is `index.handler`."""
    package = resources.files("branchline")
    files = {"index.py": _INDEX.encode()} | _modules(package, "branchline")
    for room in _ROOMS:
        files |= _modules(package.joinpath(room), f"branchline/{room}")
    files["branchline/engines/__init__.py"] = b""
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
