"""What the how-to guides show, done on the real engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.app import app
from tests.docker.conftest import Branchline
from tests.docs.pages import DOCS, blocks
from tests.repositories import Repo, git


def test_the_hook_deploys_what_is_pushed_and_destroys_what_is_deleted(
    branchline: Branchline, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hook,) = [block.text for block in blocks((DOCS / "how-to" / "ci.md").read_text()) if block.language == "bash"]
    origin = shop.add_origin()
    (origin / "hooks" / "post-receive").write_text(hook)
    (origin / "hooks" / "post-receive").chmod(0o755)
    for name, value in branchline.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def push(*arguments: str) -> str:
        command = ["git", "push", "origin", *arguments]
        return subprocess.run(command, cwd=shop.path, check=True, capture_output=True, text=True).stderr

    shop.checkout("feature/login", create=True)
    shop.commit(files={"version": "login 1"})
    git(shop.path, "tag", "v1")
    said = push("feature/login", "v1")
    (listed,) = branchline.list(origin)
    assert listed["branch"] == "feature/login"
    assert listed["project"] == "shop"
    assert f"remote: {listed['url']}" in said
    assert branchline.get(listed["url"]).text == "login 1"

    shop.commit(files={"version": "login 2"})
    push("feature/login")
    assert branchline.get(listed["url"]).text == "login 2"
    push("--delete", "feature/login", "v1")
    assert branchline.list(origin) == []


def as_ci_checks_out(shop: Repo, commit: str, directory: Path) -> Path:
    """A clone with the whole history, at a commit and on no branch."""
    git(directory.parent, "clone", "--quiet", str(shop.path), str(directory))
    git(directory, "checkout", "--quiet", commit)
    return directory


def test_ci_deploys_a_commit_without_a_branch_and_an_old_job_that_runs_late_changes_nothing(
    branchline: Branchline, shop: Repo, tmp_path: Path
) -> None:
    old = shop.head
    new = shop.commit(files={"version": "main 2"})
    early, late = as_ci_checks_out(shop, new, tmp_path / "new"), as_ci_checks_out(shop, old, tmp_path / "old")
    assert branchline.try_("deploy", cwd=early).code == 2
    url = branchline("deploy", "--branch", "main", "--commit", new, cwd=early).out.strip()
    assert branchline.get(url).text == "main 2"
    again = branchline("deploy", "--branch", "main", "--commit", old, cwd=late)
    assert again.out == ""
    assert branchline.get(url).text == "main 2"
    outside = tmp_path / "outside"
    outside.mkdir()
    branchline("destroy", "--project", "shop", "main", cwd=outside)
    assert branchline.list(outside) == []


def test_a_changed_secret_is_deployed_though_the_commit_is_the_same(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    settings = {"branchline.toml": 'env_files = [".env.preview"]\n', ".gitignore": ".env.preview\n"}
    repo = repository(app(python_base, "x") | settings)
    missing = branchline.try_("deploy", cwd=repo.path)
    assert missing.code == 2
    assert ".env.preview: no such env file" in missing.err
    for value in ("first-pass", "second-pass"):
        repo.write({".env.preview": f"DATABASE_PASSWORD={value}\n"})
        deployed = branchline.deploy(repo)
        assert deployed["unchanged"] is False
        assert branchline.get(deployed["url"], "/env").json()["DATABASE_PASSWORD"] == value
    assert branchline.deploy(repo)["unchanged"] is True
