"""Real git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}
"""What makes git independent of the settings of whoever runs the tests."""


def git(directory: Path, *arguments: str) -> str:
    """Runs git in the directory; returns what it printed, without the last line's end."""
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=os.environ | ENVIRONMENT, capture_output=True, check=False
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {os.fsdecode(done.stderr)}"
    return os.fsdecode(done.stdout).rstrip("\n")


@dataclass(frozen=True)
class Repo:
    """A repository with a work tree, on branch main at first."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Repo:
        """An empty repository in a new directory."""
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--initial-branch=main")
        return cls(path)

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return git(self.path, "rev-parse", "HEAD")

    @property
    def origin(self) -> Path:
        """Where the bare repository is that `push` pushes to, once `add_origin` has made it."""
        return self.path.with_name(f"{self.path.name}.git")

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Writes files of the work tree, without committing them."""
        for name, content in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str = "Change", files: Mapping[str, str | bytes] | None = None) -> str:
        """Writes `files`, commits all that changed (maybe nothing), and returns the commit."""
        self.write(files or {})
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def branch(self, name: str, start: str = "HEAD") -> None:
        """Makes a branch without checking it out."""
        git(self.path, "branch", "--", name, start)

    def checkout(self, name: str, *, create: bool = False) -> None:
        """Checks a branch out, a new one with `create`."""
        git(self.path, "checkout", "--quiet", *(["-b"] if create else []), name)

    def delete_branch(self, name: str) -> None:
        """Deletes a local branch that isn't checked out, merged or not."""
        git(self.path, "branch", "--quiet", "-D", "--", name)

    def add_origin(self) -> Path:
        """Makes a bare repository beside this one, the remote `origin`, and pushes every branch to it."""
        git(self.path, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        git(self.path, "remote", "add", "origin", str(self.origin))
        git(self.path, "push", "--quiet", "--all", "origin")
        return self.origin

    def push(self, *branches: str, force: bool = False) -> None:
        """Pushes branches to the origin; one that was deleted here is deleted there."""
        local = git(self.path, "for-each-ref", "--format=%(refname)", "refs/heads").splitlines()
        references = [f"refs/heads/{branch}" for branch in branches]
        specs = [f"{name if name in local else ''}:{name}" for name in references]
        git(self.path, "push", "--quiet", *(["--force"] if force else []), "origin", *specs)
