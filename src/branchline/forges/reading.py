"""From a payload's fields to messages: what all forges have in common. Their modules say how they differ."""

from __future__ import annotations

import re

from branchline.forges.payload import Object, optional_text
from branchline.forges.refusals import MalformedError
from branchline.printable import printable
from branchline.webhooks import Action, BranchDeleted, BranchPushed, Ignored, Message, PullRequest

NO_BRANCH = Ignored("it is not about a branch")
"""A tag, or another kind of ref."""

_NO_NAME = Ignored("no branch can have such a name")
_LONGEST_BRANCH = 1024
"""Bytes of a branch's name: git stores branches as files, and most file systems allow less for a path's part."""
_LONGEST_URL = 2048
_LONGEST_WORD = 50

_HEADS = "refs/heads/"
_ZEROS = re.compile(r"0{40}|0{64}")
"""Where a ref's new commit would stand, in SHA-1 or SHA-256: the ref is gone."""
_COMMIT = re.compile(r"[0-9a-f]{12,64}")
"""Bitbucket tells only the first 12 digits in events of pull requests."""
_NO_BRANCH = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(?:^|/)\.|\.lock(?:/|\Z)|\A[-/]|[/.]\Z|\A@\Z", re.ASCII | re.DOTALL
)
"""What git-check-ref-format(1) forbids in a branch's name."""


def urls(repository: Object, *keys: str) -> tuple[str, ...]:
    """The repository's URLs, as far as the forge tells them.

    Raises:
        MalformedError: it tells none, or they are none.
    """
    found = tuple(url for key in keys if (url := optional_text(repository, key)))
    if not found:
        raise MalformedError("the repository has no URL")
    if any(len(url) > _LONGEST_URL or not url.isprintable() for url in found):
        raise MalformedError("the repository's URL is none")
    return found


def is_gone(commit: str) -> bool:
    """Whether what stands in a commit's place says that there is none any more."""
    return _ZEROS.fullmatch(commit) is not None


def pushed(repository: tuple[str, ...], branch: str, commit: str) -> Message:
    """The message that the branch is at this commit now.

    Raises:
        MalformedError: it is no commit.
    """
    return BranchPushed(repository, branch, _commit(commit)) if _is_branch(branch) else _NO_NAME


def deleted(repository: tuple[str, ...], branch: str) -> Message:
    """The message that the branch is gone."""
    return BranchDeleted(repository, branch) if _is_branch(branch) else _NO_NAME


def ref_moved(repository: tuple[str, ...], ref: str, commit: str, *, gone: bool) -> Message:
    """The message of a push, which moves, makes or deletes a ref; only branches matter.

    Raises:
        MalformedError: the ref isn't gone, and `commit` is none.
    """
    if not ref.startswith(_HEADS):
        return NO_BRANCH
    branch = ref.removeprefix(_HEADS)
    return deleted(repository, branch) if gone else pushed(repository, branch, commit)


def ref_deleted(repository: tuple[str, ...], ref: str, kind: str) -> Message:
    """The message of a deletion. The ref may be full or the bare name, so only `kind` tells branches from tags."""
    if kind != "branch":
        return NO_BRANCH
    return deleted(repository, ref.removeprefix(_HEADS))


def pull_request(
    repository: tuple[str, ...],
    number: int,
    action: Action,
    branch: str,
    commit: str,
    *,
    fork: bool,
    label: str = "",
) -> Message:
    """The message about a pull request. What is closed may have lost its commit, with the fork that had it.

    Raises:
        MalformedError: `commit` is none, and there must be one.
    """
    if not _is_branch(branch):
        return _NO_NAME
    known = "" if action == "closed" and not commit else _commit(commit)
    return PullRequest(repository, number, action, branch, known, fork, label)


def not_needed(what: str) -> Ignored:
    """The message that nothing is done about this kind of event, or about this action."""
    word = " ".join(printable(what[:_LONGEST_WORD]).split())
    return Ignored(f"nothing is done about '{word}'")


def is_fork(source: object, target: object) -> bool:
    """Whether a pull request's two repositories differ, by their ids.

    Where one isn't known, they do: a fork that has been deleted is null, and what isn't known isn't trusted.
    """
    known = isinstance(source, int | str) and bool(source)
    return not (known and type(source) is type(target) and source == target)


def _is_branch(name: str) -> bool:
    return bool(name) and len(name.encode()) <= _LONGEST_BRANCH and not _NO_BRANCH.search(name)


def _commit(digits: str) -> str:
    if not _COMMIT.fullmatch(digits) or is_gone(digits):
        raise MalformedError("the commit is none")
    return digits
