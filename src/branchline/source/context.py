"""A commit's tree as a build context: a tar stream, made as it is read.

`git archive` gives what a checkout would (line ends, Git LFS), never the working copy and never `.git`; paths with the
attribute `export-ignore` are left out, as their author asked. Its stream is packed again, for two reasons. The ignore
file's paths have to go. And BuildKit looks at the first 512 octets alone to tell a tar, for which a header that another
one must follow (pax, or a long name in GNU format) is not enough: so GNU format, after an entry for the root.
"""

from __future__ import annotations

import io
import posixpath
import subprocess
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, BinaryIO

from branchline import dockerignore
from branchline.errors import ConfigurationError, SourceError
from branchline.settings.application import Build
from branchline.source import objects
from branchline.source.git import Git, complaint, complaints, stop

_CHUNK = 1 << 18
_CONFIGURATION = (
    "-c",
    "tar.umask=0022",
    "-c",
    "core.autocrlf=false",  # the image is a Linux one, whatever this machine's editors like
    "-c",
    "core.eol=lf",
)


@contextmanager
def open_context(git: Git, commit: str, build: Build) -> Generator[BinaryIO]:
    """The context of a commit that exists, to be read within the block. Leaving early ends git.

    Reading raises SourceError where git fails halfway: a truncated context is never taken for a whole one.

    Raises:
        ConfigurationError: the commit has no such context directory or Dockerfile, or its ignore file is wrong.
    """
    directory = objects.relative(build.context, "build.context")
    dockerfile = objects.relative(build.dockerfile, "build.dockerfile")
    if objects.kind(git, commit, directory) != "tree":
        raise ConfigurationError(
            f"commit {commit[:12]} has no directory {build.context!r}, the build context",
            remedy="correct build.context, which is relative to the repository's root, or commit the directory",
        )
    if objects.kind(git, commit, posixpath.join(directory, dockerfile)) != "blob":
        raise _no_dockerfile(git, commit, build)
    ignored = _ignored(git, commit, directory, dockerfile)
    with TemporaryFile() as errors:
        process = git.start(
            *_CONFIGURATION,
            "--literal-pathspecs",
            "archive",
            "--format=tar",
            commit,
            "--",
            *([directory] if directory else []),
            stderr=errors.fileno(),
        )
        chunks = _packed(process, errors, directory, ignored, dockerfile)
        try:
            with io.BufferedReader(_Stream(chunks), _CHUNK) as stream:
                yield stream
        finally:
            stop(process)
            if process.stdout:
                process.stdout.close()


class _Stream(io.RawIOBase):
    """The chunks as a file. The error that ended them is raised again by every later read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._error:
            raise self._error
        try:
            while not self._chunk:
                self._chunk = memoryview(next(self._chunks))
        except StopIteration:
            return 0
        except Exception as error:
            self._error = error
            raise
        size = min(len(buffer), len(self._chunk))
        buffer[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return size


def _packed(
    process: subprocess.Popen[bytes],
    errors: IO[bytes],
    directory: str,
    ignored: Callable[[str], bool],
    dockerfile: str,
) -> Iterator[bytes]:
    """The tar stream that git writes, filtered and in GNU format, in chunks of about `_CHUNK` octets.

    Raises:
        SourceError: git ended before it was done.
        ConfigurationError: the Dockerfile has the attribute `export-ignore`.
    """
    if process.stdout is None:
        raise ValueError("git has no pipe to read from")
    waiting = bytearray()
    found = whole = False
    try:
        with tarfile.open(
            fileobj=process.stdout, mode="r|", bufsize=_CHUNK, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for member, path in _chosen(archive, directory, ignored):
                found = found or path == dockerfile
                waiting += _header(member, path)
                content = archive.extractfile(member) if member.isreg() else None
                while content and (chunk := content.read(_CHUNK)):
                    waiting += chunk
                    if len(waiting) >= _CHUNK:
                        yield bytes(waiting)
                        waiting.clear()
                waiting += bytes(-member.size % tarfile.BLOCKSIZE)
        while process.stdout.read(_CHUNK):
            pass  # what pads the archive: git must not die of a closed pipe
        whole = True
    except tarfile.TarError:
        stop(process)
    if process.wait() != 0 or not whole:
        errors.seek(0)
        said = errors.read()
        raise SourceError(
            f"git archive broke off: {complaint(said)}",
            remedy="check the disk and the repository (git fsck), or clone it again",
            details=complaints(said),
        )
    if not found:
        raise ConfigurationError(
            f"{dockerfile} has the attribute export-ignore, so it is not in the build context",
            remedy="take it out of .gitattributes",
        )
    yield bytes(waiting) + bytes(2 * tarfile.BLOCKSIZE)


def _chosen(
    archive: tarfile.TarFile, directory: str, ignored: Callable[[str], bool]
) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """The archive's members that belong to the context, each with its path in it, the root first.

    A directory that is ignored comes after all where something in it is not.
    """
    prefix = f"{directory}/" if directory else ""
    held: dict[str, tarfile.TarInfo] = {}
    root = True
    for member in archive:
        if root:
            entry = tarfile.TarInfo(".")
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, member.mtime
            yield entry, "."
            root = False
        path = member.name.removeprefix(prefix)
        if not member.name.startswith(prefix):
            continue  # a directory above the context
        if ignored(path):
            if member.isdir():
                held[path] = member
            continue
        if held:
            parts = path.split("/")
            for parent in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
                if parent in held:
                    yield held.pop(parent), parent
        yield member, path


def _header(member: tarfile.TarInfo, path: str) -> bytes:
    """The member's header in GNU format, owned by root."""
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.mtime = member.type, member.mode, int(member.mtime)
    entry.size, entry.linkname = member.size, member.linkname
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _ignored(git: Git, commit: str, directory: str, dockerfile: str) -> Callable[[str], bool]:
    """Which paths the ignore file keeps out: the Dockerfile's own, else the context's. Never these two themselves."""
    rules = dockerignore.IgnoreRules()
    kept = {dockerfile}
    for name in (f"{dockerfile}{dockerignore.FILE_NAME}", dockerignore.FILE_NAME):
        path = posixpath.join(directory, name)
        text = objects.text(git, commit, path)
        if text is not None:
            rules = dockerignore.parse(text, f"{path} in commit {commit[:12]}")
            kept.add(name)
            break
    return lambda path: path not in kept and rules.ignores(path)


def _no_dockerfile(git: Git, commit: str, build: Build) -> ConfigurationError:
    """The error for a commit without the Dockerfile, with the ones that it has."""
    others = objects.dockerfiles(git, commit)
    where = f" in {build.context!r}" if build.context != "." else ""
    return ConfigurationError(
        f"commit {commit[:12]} has no {build.dockerfile!r}{where}",
        remedy=(
            "set build.context and build.dockerfile in branchline.toml to one of the commit's Dockerfiles"
            if others
            else "commit a Dockerfile; files of the working copy don't count until they are committed"
        ),
        details=others[:5],
    )
