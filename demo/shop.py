"""The application of the demo: BusyBox's web server with one page, as files of a repository."""

from __future__ import annotations

import html
import io
import shutil
import tarfile
from pathlib import Path


def dockerfile(base: str) -> str:
    """A web server of 2 MB, which ends at once when it is told to."""
    return f"""\
# The base is made on this machine, so that the demo needs no image registry.
FROM {base}
COPY www /www
EXPOSE 8000
CMD ["sh", "-c", "trap 'exit 0' TERM; httpd -f -p 8000 -h /www & wait"]
"""


def broken_dockerfile(base: str, code: int = 1) -> str:
    """A release that ends as soon as it has started, with that exit code."""
    complaint = "echo connecting to the database...; sleep 0.2; echo 'fatal: no database at db:5432'"
    return f"""\
FROM {base}
EXPOSE 8000
CMD ["sh", "-c", "{complaint}; exit {code}"]
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
