"""The application of the demo: BusyBox's web server with one page, as files of a repository."""

from __future__ import annotations

import html
import io
import shutil
import tarfile
from pathlib import Path

BASE = "branchline-demo-base"

DOCKERFILE = f"""\
# A web server of 2 MB, so that the demo needs no image registry.
FROM {BASE}
COPY www /www
EXPOSE 8000
CMD ["httpd", "-f", "-p", "8000", "-h", "/www"]
"""

BROKEN_DOCKERFILE = f"""\
FROM {BASE}
EXPOSE 8000
CMD ["sh", "-c", "echo connecting to the database...; sleep 0.2; echo 'fatal: no database at db:5432'; exit 1"]
"""

PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  body {{ font: 18px/1.6 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-items: center;
         background: {colour}; color: #fff }}
  h1 {{ font-size: 3rem; margin: 0 }}
  p {{ opacity: .85; margin: .5rem 0 0 }}
</style>
<main><h1>{title}</h1><p>{text}</p></main>
"""


def page(title: str, text: str, colour: str) -> str:
    """The page of a branch."""
    return PAGE.format(title=html.escape(title), text=html.escape(text), colour=colour)


def base_image() -> bytes:
    """The base image's file system as a tar archive: Debian's static BusyBox, and a link for each of its programs."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is missing: apt-get install busybox-static")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        program = tarfile.TarInfo("bin/busybox")
        data = Path(busybox).resolve().read_bytes()
        program.size, program.mode = len(data), 0o755
        tar.addfile(program, io.BytesIO(data))
        for name in ("sh", "httpd", "sleep", "echo", "cat", "ls", "ps"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()
