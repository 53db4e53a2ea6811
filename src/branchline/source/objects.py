"""What a commit's tree holds."""

from __future__ import annotations

import posixpath

from branchline.errors import ConfigurationError
from branchline.source.git import Git, decoded, encoded


def relative(path: str, what: str) -> str:
    """The path as git has it, relative to the tree's root; empty for the root itself.

    Raises:
        ConfigurationError: it leads out of the tree; `what` is the setting that it comes from.
    """
    cleaned = posixpath.normpath(path)
    if posixpath.isabs(cleaned) or cleaned.split("/")[0] == ".." or any(end in path for end in "\0\n"):
        raise ConfigurationError(
            f"{what} is {path!r}, which leads out of the repository or the build context",
            remedy="give a relative path without '..'; build.dockerfile is relative to build.context",
        )
    return "" if cleaned == "." else cleaned


def kind(git: Git, commit: str, path: str) -> str | None:
    """`blob` or `tree`, or `commit` for a submodule; None where the commit has no such path."""
    answer = git.read("cat-file", "--batch-check=%(objecttype)", stdin=encoded(f"{commit}:{path}\n"))
    return None if answer.text.endswith(" missing") else answer.text


def content(git: Git, commit: str, path: str) -> bytes | None:
    """A file out of the commit's tree, also by way of symbolic links within it; None where there is none."""
    answer = git.read("cat-file", "--batch", "--follow-symlinks", stdin=encoded(f"{commit}:{path}\n"))
    header, _, rest = answer.output.partition(b"\n")
    words = header.split(b" ")
    if len(words) != 3 or words[1] != b"blob":
        return None  # missing, a directory, or a link that leads nowhere
    return rest[: int(words[2])]


def text(git: Git, commit: str, path: str) -> str | None:
    """Like `content`, as text.

    Raises:
        ConfigurationError: the file is not UTF-8.
    """
    raw = content(git, commit, path)
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} in commit {commit[:12]} is not UTF-8 text: octet {error.start + 1}",
            remedy="save the file as UTF-8 and commit it",
        ) from None


def submodules(git: Git, commit: str) -> list[str]:
    """The paths of the commit's submodules. Their content is not in the repository."""
    listing = git.read("ls-tree", "-r", "-z", "--full-tree", commit).output
    return [decoded(entry.partition(b"\t")[2]) for entry in listing.split(b"\0") if entry.startswith(b"160000 ")]


def dockerfiles(git: Git, commit: str) -> list[str]:
    """The paths of the files that look like Dockerfiles by their names, the ones nearest to the root first."""
    listing = git.read("ls-tree", "-r", "-z", "--full-tree", "--name-only", commit).output
    paths = [decoded(path) for path in listing.split(b"\0") if path]
    return sorted((path for path in paths if _is_dockerfile(path)), key=lambda path: (path.count("/"), path))


def _is_dockerfile(path: str) -> bool:
    name = posixpath.basename(path).lower()
    return (
        name in {"dockerfile", "containerfile"}
        or (name.startswith("dockerfile.") and not name.endswith(".dockerignore"))
        or name.endswith(".dockerfile")
    )
