"""A developer's place: the shop's repository, the remote that it is pushed to, and the real command `branchline`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narration import claim, say
from shop import dockerfile, page

BRANCHLINE = Path(sys.executable).with_name("branchline")


@dataclass(frozen=True)
class Workplace:
    """One directory with all of it."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """What commands get in their environment, besides this process's own."""

    @property
    def repository(self) -> Path:
        return self.home / "shop"

    @property
    def origin(self) -> Path:
        return self.home / "shop.git"

    @property
    def settings(self) -> Path:
        """The operator's."""
        return self.home / "platform.toml"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing that this user has set for other repositories, platforms or accounts."""
        foreign = ("BRANCHLINE_", "GIT_", "AWS_")
        own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return own | {
            "BRANCHLINE_CONFIG": str(self.settings),
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
            **self.variables,
        }

    def branchline(self, *arguments: str, expected: int = 0, cwd: Path | None = None) -> float:
        """Runs the command and shows it with all that it prints. Returns the seconds that it took."""
        say(f"$ branchline {' '.join(arguments)}", "1")
        begun = time.monotonic()
        done = subprocess.run([BRANCHLINE, *arguments], cwd=cwd or self.repository, env=self.environment, check=False)
        if done.returncode != expected:
            claim(False, f"exit code {expected} was expected, and it was {done.returncode}")
        return time.monotonic() - begun

    def asked(self, *arguments: str) -> Any:
        """Runs the command with --json and returns the answer."""
        done = subprocess.run(
            [BRANCHLINE, *arguments, "--json"],
            cwd=self.repository,
            env=self.environment,
            check=True,
            capture_output=True,
        )
        return json.loads(done.stdout)

    def url(self, branch: str) -> str:
        return str(self.asked("show", branch)["url"])

    def git(self, *arguments: str, cwd: Path | None = None) -> None:
        subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.repository,
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def commit(self, message: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repository / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def make_repository(self, base: str, features: Mapping[str, tuple[str, str]]) -> None:
        """With main and a branch for each feature, which has a title and a colour; all of it pushed to `origin`."""
        self.repository.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        first = {"Dockerfile": dockerfile(base), "www/index.html": page("The shop", "This is main.", "#37474f")}
        self.commit("The shop", first)
        for branch, (title, colour) in features.items():
            self.git("checkout", "--quiet", "-b", branch, "main")
            self.commit(title, {"www/index.html": page(title, f"This is {branch}.", colour)})
        self.git("checkout", "--quiet", "main")
        self.git("clone", "--quiet", "--bare", str(self.repository), str(self.origin), cwd=self.home)
        self.git("remote", "add", "origin", str(self.origin))
        subprocess.run(
            ["git", "log", "--all", "--oneline", "--graph"], cwd=self.repository, env=self.environment, check=True
        )

    def delete_branch(self, branch: str) -> None:
        """In the repository and in its remote, as a merge would."""
        self.git("branch", "--quiet", "-D", branch)
        self.git("push", "--quiet", "origin", "--delete", branch)
