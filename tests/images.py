"""Base images that tests make out of this machine's own files, since no registry may be at hand.

Both are plain file systems that the engine imports as one layer: `tiny` holds the static BusyBox, and `python` also the
interpreter that runs the tests, so that containers can run real servers.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import docker

# No server needs these parts of the standard library; site-packages and dist-packages aren't even parts of it.
_LEFT_OUT = {"test", "site-packages", "dist-packages", "tkinter", "idlelib", "turtledemo", "lib2to3", "ensurepip"}
_ACCOUNTS = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)")


def import_tiny(client: docker.DockerClient, image: str) -> None:
    """Makes `image`: BusyBox as /bin/sh and as every other program that it knows."""
    import_image(client, image, busybox())


def import_python(client: docker.DockerClient, image: str) -> None:
    """Makes `image`: BusyBox, and python3 as it runs the tests, with its standard library."""
    import_image(client, image, [*busybox(), *python()])


Entry = tuple[str, Path | bytes | str]
"""A path in the image, and what is there: a copy of a file, a content, or a link to another path."""


def busybox() -> Iterator[Entry]:
    """The static BusyBox with a link for each of its programs, and the accounts root and nobody."""
    program = shutil.which("busybox", path="/bin:/usr/bin")
    assert program, "no busybox: 'make test' installs the package busybox-static"
    yield "/bin/busybox", Path(program)
    for applet in subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if applet != "busybox":
            yield f"/bin/{applet}", "busybox"
    yield from _ACCOUNTS.items()


def python() -> Iterator[Entry]:
    """The interpreter below the virtual environment, its standard library, and the shared libraries of both.

    Everything keeps its path, since an interpreter may find its libraries and its prefix by absolute paths. Compiled
    files are taken along: without them, each container would compile all that it imports.
    """
    interpreter = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    platform = Path(sysconfig.get_path("platstdlib"))
    extensions = set[Path]()
    yield str(interpreter), interpreter
    yield "/usr/local/bin/python3", str(interpreter)
    for file in sorted({*_library_files(standard), *_library_files(platform)}):
        if file.name.endswith(".so"):
            extensions.add(file)
        yield str(file), file
    for library in sorted(shared_libraries([interpreter, *extensions])):
        yield str(library), library
    yield "/etc/ld.so.cache", Path("/etc/ld.so.cache")


def _library_files(directory: Path) -> Iterator[Path]:
    """The files of the standard library below the directory, without the parts that no server needs."""
    for path in directory.iterdir():
        if path.is_dir():
            if path.name not in _LEFT_OUT and not path.name.startswith("config-"):
                yield from _library_files(path)
        elif path.is_file() and ".opt-" not in path.name and not path.name.startswith("_tkinter."):
            yield path


def shared_libraries(programs: Iterable[Path]) -> set[Path]:
    """What the dynamic loader loads for the programs, itself included, and what the C library loads by itself."""
    listed = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    libraries = {Path(path) for path in _LIBRARY.findall(listed)}
    # glibc loads libgcc_s when a thread ends, which no dependency tells.
    unwinders = {library.with_name("libgcc_s.so.1") for library in libraries if library.name == "libc.so.6"}
    return libraries | {library for library in unwinders if library.exists()}


def import_image(client: docker.DockerClient, image: str, entries: Iterable[Entry]) -> None:
    """Has the engine make an image of one layer out of the entries."""
    repository, _, tag = image.rpartition(":")
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
            _write(archive, entries)
        file.seek(0)
        answer = client.api.import_image(src=file, repository=repository, tag=tag, changes=["CMD /bin/sh"])
    assert '"error"' not in answer, f"the engine can't import {image}: {answer}"


def _write(archive: tarfile.TarFile, entries: Iterable[Entry]) -> None:
    """Writes the entries and the directories that they are in; everything belongs to root and anybody may read it."""
    made = {PurePosixPath("/")}
    _write_directory(archive, PurePosixPath("/tmp"), 0o1777)
    made.add(PurePosixPath("/tmp"))
    for name, content in entries:
        path = PurePosixPath(name)
        for parent in reversed(path.parents):
            if parent not in made:
                _write_directory(archive, parent, 0o755)
                made.add(parent)
        match content:
            case Path():
                archive.add(content, arcname=name, filter=_owned_by_root)
            case bytes():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            case str():
                member = tarfile.TarInfo(name)
                member.type = tarfile.SYMTYPE
                member.linkname = content
                archive.addfile(member)


def _write_directory(archive: tarfile.TarFile, path: PurePosixPath, mode: int) -> None:
    member = tarfile.TarInfo(str(path))
    member.type = tarfile.DIRTYPE
    member.mode = mode
    archive.addfile(member)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode |= 0o444
    return member
