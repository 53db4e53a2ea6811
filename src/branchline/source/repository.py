"""A repository: its branches, its commits, and what is in them."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from branchline import naming
from branchline.errors import ConfigurationError, NotFoundError, SourceError
from branchline.settings.application import Build
from branchline.source import objects
from branchline.source.git import Git, check_branch, complaint, decoded

_HEADS = "refs/heads/"
_ABBREVIATED = re.compile(r"[0-9a-fA-F]{4,64}")


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository that branches come from. `source.discovery` finds one."""

    url: str
    """Where it comes from, without credentials: the remote's URL, or a path where there is no remote."""
    directory: Path
    """The git directory."""
    root: Path | None
    """The working tree's root; None where there is no working tree."""
    name: str
    """What the repository is called: the last part of its URL or path."""
    address: str | None = field(repr=False)
    """What git connects to for the remote's branches, maybe with credentials. None: it is itself the remote."""
    tracking: str | None = None
    """Where the remote's branches are as of the last fetch, such as `refs/remotes/origin/`."""
    mirrored: bool = False
    """Whether it is our own mirror of a URL, whose branches are only as new as when it was opened."""

    @property
    def _git(self) -> Git:
        return Git(self.directory, self.root)

    def project_name(self) -> str:
        """A project's name for this repository."""
        return naming.project(self.name)

    def current_branch(self) -> str | None:
        """The branch that is checked out, in a bare repository its default branch. None where HEAD is detached, and
        for a URL."""
        if self.mirrored:
            return None
        answer = self._git.ask("symbolic-ref", "--quiet", "HEAD")
        return answer.text.removeprefix(_HEADS) if answer.code == 0 and answer.text.startswith(_HEADS) else None

    def resolve(self, branch: str, commit: str | None = None) -> str:
        """The full id of the commit to deploy: the branch's newest, or the one that is given (an id, its beginning, or
        a tag). A branch that is given with a commit needn't be known here: CI checks out commits without branches.

        Raises:
            ConfigurationError: git doesn't allow such a branch name, or the abbreviated id is ambiguous.
            NotFoundError: there is no such branch or commit.
        """
        check_branch(branch)
        if commit is not None:
            return self._commit(commit)
        found = self._local_tip(branch)
        if found:
            return found
        import difflib

        known = self._local_branches()
        # `refs/heads/main` and `origin/main` are `main` with something in front.
        nearest = [name for name in known if branch.endswith(f"/{name}")][:3]
        nearest = nearest or difflib.get_close_matches(branch, known, n=3)
        if nearest:
            remedy = f"did you mean {' or '.join(nearest)}?"
        else:
            remedy = "push it first" if self.mirrored else "fetch it (git fetch), or commit to it first"
        raise NotFoundError(f"{self.url} has no branch {branch!r}", remedy=remedy)

    def knows(self, branch: str) -> bool:
        """Whether the branch is here, or was when it was last fetched. The remote is not asked."""
        check_branch(branch)
        return self._local_tip(branch) is not None

    def tip(self, branch: str) -> str | None:
        """The commit that the branch is at now, or None where it doesn't exist.

        A clone's own branch counts. Otherwise the remote is asked, since what was fetched once may be gone there.

        Raises:
            SourceError: the repository can't be read.
        """
        check_branch(branch)
        if not self.mirrored:
            own = self._references(f"{_HEADS}{branch}").get(f"{_HEADS}{branch}")
            if own or self.address is None:
                return own
        return self._remote_heads(f"{_HEADS}{branch}").get(branch)

    def branches(self) -> frozenset[str]:
        """Every branch that exists in the remote now, or in the repository itself where it has no remote.

        Raises:
            SourceError: it can't be read. Never read as "no branches".
        """
        if self.address is not None:
            return frozenset(self._remote_heads())
        return frozenset(name.removeprefix(_HEADS) for name in self._references(_HEADS))

    def has(self, commit: str) -> bool:
        """Whether the commit is here."""
        return self._git.ask("cat-file", "-e", "--end-of-options", f"{commit}^{{commit}}").code == 0

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`. False where one of them is not known here."""
        return self._git.ask("merge-base", "--is-ancestor", "--end-of-options", older, newer).code == 0

    def read(self, commit: str, path: str) -> str | None:
        """A file out of the commit's tree; None where it has none.

        Raises:
            ConfigurationError: the path leads out of the tree, or the file is not UTF-8.
        """
        return objects.text(self._git, commit, objects.relative(path, "the file's path"))

    def context(self, commit: str, build: Build) -> AbstractContextManager[BinaryIO]:
        """The commit's tree as a tar stream to build from, filtered by its ignore file; see `source.context`."""
        from branchline.source.context import open_context  # tarfile is for builds only

        return open_context(self._git, commit, build)

    def submodules(self, commit: str) -> list[str]:
        """The paths of the commit's submodules, which are empty directories in its build context."""
        return objects.submodules(self._git, commit)

    def subject(self, commit: str) -> str:
        """The first line of the commit's message."""
        return self._describe(commit, "%s")

    def author(self, commit: str) -> str:
        """The name of who wrote the commit."""
        return self._describe(commit, "%an")

    def email(self, commit: str) -> str:
        """The address of who wrote the commit."""
        return self._describe(commit, "%ae")

    def uncommitted(self, path: str) -> bool:
        """Whether the working copy's file differs from the checked-out commit's, or only one of them has it."""
        if self.root is None:
            return False
        changes = self._git.read(
            "--literal-pathspecs", "status", "--porcelain", "-z", "--untracked-files=all", "--ignored", "--", path
        )
        return bool(changes.output)

    def _describe(self, commit: str, form: str) -> str:
        return self._git.read(
            "-c", "log.showSignature=false", "show", "--no-patch", "--encoding=UTF-8", f"--format={form}", commit, "--"
        ).text

    def _commit(self, given: str) -> str:
        """The commit that an id, its beginning or a tag means. Ids come first: a branch may be named like one."""
        try:
            if _ABBREVIATED.fullmatch(given):
                ids = self._git.read("rev-parse", f"--disambiguate={given}").output
                kinds = (
                    line.split(" ") for line in self._git.read("cat-file", "--batch-check", stdin=ids).text.split("\n")
                )
                commits = [words[0] for words in kinds if words[1:2] == ["commit"]]
                if len(commits) > 1:
                    raise ConfigurationError(
                        f"{given!r} is the beginning of {len(commits)} commits in {self.url}",
                        remedy="give more of the commit's id",
                        details=commits[:5],
                    )
                if commits:
                    return commits[0]
            answer = self._git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}")
            if answer.code == 0:
                return answer.text
        except ValueError:
            pass  # a text that can't be given to a program, so not one that git knows
        if (self.directory / "shallow").exists():
            remedy = "this clone is shallow: fetch more of its history (git fetch --unshallow)"
        else:
            remedy = "push it first" if self.mirrored else "fetch it first (git fetch)"
        raise NotFoundError(f"{self.url} has no commit {given!r}", remedy=remedy)

    def _local_tip(self, branch: str) -> str | None:
        """Where the branch is in this repository: its own, else what was fetched."""
        names = [f"{_HEADS}{branch}", *([f"{self.tracking}{branch}"] if self.tracking else [])]
        found = self._references(*names)
        return next((found[name] for name in names if name in found), None)

    def _local_branches(self) -> list[str]:
        prefixes = [_HEADS, *([self.tracking] if self.tracking else [])]
        names = {name.removeprefix(prefix) for prefix in prefixes for name in self._references(prefix)}
        return sorted(names - {"HEAD"})

    def _references(self, *patterns: str) -> dict[str, str]:
        """The repository's references that are, or are below, one of the patterns, with their commits."""
        answer = self._git.read("for-each-ref", "--format=%(objectname) %(refname)", "--", *patterns)
        if b"broken ref" in answer.errors:  # git leaves it out, and what is broken is not deleted
            raise SourceError(
                f"{self.url} is damaged: {complaint(answer.errors)}", remedy="repair it (git fsck), or clone it again"
            )
        lines = (decoded(line).partition(" ") for line in answer.output.split(b"\n") if line)
        return {name: commit for commit, _, name in lines}

    def _remote_heads(self, *patterns: str) -> dict[str, str]:
        """The remote's branches as they are now, with their commits."""
        address = self.address or ""
        output = self._git.connect("ls-remote", "--heads", "--", address, *patterns, address=self.url).output
        heads = (decoded(line).partition("\t") for line in output.split(b"\n") if line)
        return {name.removeprefix(_HEADS): commit for commit, _, name in heads}
