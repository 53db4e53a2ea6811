"""What a user sees who asks for what can't be: one error, its remedy, and nothing touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.repositories import Repo, git
from tests.unit.conftest import NO_ENGINE, Command


@pytest.mark.parametrize(
    ("arguments", "error", "remedy"),
    [
        (["deploi"], "no such command 'deploi'. Did you mean 'deploy'?", "see 'branchline --help'"),
        (["deploy", "--brnch", "x"], "'--brnch'. Did you mean '--branch'?", "see 'branchline deploy --help'"),
        (["show", "main", "extra"], "unexpected extra argument (extra)", "see 'branchline show --help'"),
        (["deploy", "--timeout", "0"], "seconds above 0, such as 90, got '0'", "deploy --help"),
        (["deploy", "--timeout", "-3"], "got '-3'", "deploy --help"),
        (["deploy", "--timeout", "soon"], "got 'soon'", "deploy --help"),
        (["deploy", "--timeout", "nan"], "got 'nan'", "deploy --help"),
        (["deploy", "--timeout", "inf"], "got 'inf'", "deploy --help"),
        (["wake", "main", "--timeout", "1e99"], "got '1e99'", "wake --help"),
        (["deploy", "--project", "Foo_Bar"], "'Foo_Bar' can't be the project's name", "'foo-bar' would do"),
        (["list", "--project", ""], "'' can't be the project's name", "another name"),
        (["deploy", "--image", ""], "--image is empty", "leave it out to build the commit"),
        (["deploy", "--repo", ""], "'' is neither a path nor a URL", "name a directory"),
        (["deploy", "--repo", "/nonexistent"], "/nonexistent does not exist", "name a directory"),
        (["deploy", "--repo", "/dev/null"], "/dev/null is not a directory", "name a directory"),
        (["reap", "--repo", "ext::sh -c id"], "doesn't read repositories by 'ext'", "use one of https"),
        (["deploy", "--branch", ""], "'' can't be the name of a branch", "git branch"),
        (["deploy", "--branch", "-x"], "'-x' can't be the name of a branch", "git branch"),
        (["deploy", "--branch", ".."], "'..' can't be the name of a branch", "git branch"),
        (["deploy", "--branch", "a b"], "'a b' can't be the name of a branch", "git branch"),
        (["deploy", "--branch", "mian"], "has no branch 'mian'", "did you mean main?"),
        (["deploy", "--branch", "refs/heads/main"], "has no branch 'refs/heads/main'", "did you mean main?"),
        (["deploy", "--branch", "origin/main"], "has no branch 'origin/main'", "did you mean main?"),
        (["deploy", "--commit", "deadbeef"], "has no commit 'deadbeef'", "git fetch"),
        (["deploy", "--commit", ""], "has no commit ''", "git fetch"),
        (["destroy"], "which branches?", "--all"),
        (["destroy", "--all", "main"], "--all is given, and branches too", "one of the two"),
        # A script whose variable is empty must not get the branch that happens to be checked out.
        (["destroy", ""], "'' can't be the name of a branch", "git branch"),
        (["show", ""], "'' can't be the name of a branch", "git branch"),
        (["show", "a b"], "'a b' can't be the name of a branch", "git branch"),
        (["router", "strt"], "no such command 'strt'", "router --help"),
        (["schema", "platfrom"], "'platfrom' is not one of 'branchline', 'platform'", "schema --help"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_touched(
    command: Command, shop: Repo, arguments: list[str], error: str, remedy: str
) -> None:
    command.refuses(*arguments, cwd=shop.path, error=error, remedy=remedy)
    assert list(command.state.iterdir()) == []


def test_without_json_standard_output_stays_empty(command: Command, shop: Repo) -> None:
    result = command("deploy", "--branch", "mian", cwd=shop.path)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {shop.path} has no branch 'mian'\n  → did you mean main?\n"


def test_json_after_exec_is_the_commands_own_and_not_ours(command: Command, shop: Repo) -> None:
    result = command("exec", "main", "--", "list", "--json", cwd=shop.path)
    assert (result.code, result.out) == (1, "")
    assert result.error == NO_ENGINE


def test_outside_a_repository_each_command_says_what_it_needs(command: Command, tmp_path: Path) -> None:
    command.refuses("deploy", cwd=tmp_path, error=f"{tmp_path} is in no git repository", remedy="give --repo")
    command.refuses("init", cwd=tmp_path, error="is not in a git repository", remedy="git init")
    command.refuses("destroy", cwd=tmp_path, error="which branches?")
    for name in ("show", "sleep", "wake", "rollback", "open"):
        command.refuses(name, cwd=tmp_path, error="which branch?", remedy="give the branch's name")
        command.refuses(name, "main", cwd=tmp_path, error="which project?", remedy="give --project NAME")
    command.refuses(
        "deploy", "--image", "x:1", cwd=tmp_path, error="--image needs --project, --branch and --commit", remedy="all"
    )
    names = ["--image", "x:1", "--project", "p", "--branch", "b"]
    command.refuses("deploy", *names, "--commit", "../x", cwd=tmp_path, error="'../x' is no commit's id", remedy="git")
    (tmp_path / "branchline.toml").write_bytes(b"\xff")
    command.refuses("deploy", *names, "--commit", "abcdef0", cwd=tmp_path, error="branchline.toml can't be read")
    # With branch and project there is no need of a repository: it gets as far as the engine.
    command.refuses("show", "main", "--project", "shop", cwd=tmp_path, error=NO_ENGINE, code=1)


def test_a_repository_without_a_commit_says_so_and_can_be_initialised(command: Command, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "new")
    for arguments in (["deploy"], ["list"], ["show"], ["reap"], ["destroy", "main"]):
        command.refuses(*arguments, cwd=repo.path, error="has no commits yet", remedy="commit something")
    command.refuses("init", cwd=repo.path, error="has no Dockerfile", remedy="write one")
    repo.write({"Dockerfile": "FROM scratch\nEXPOSE 80\n"})
    assert json.loads(command("init", "--json", cwd=repo.path).out)["project"] == "new"
    assert 'project = "new"' in (repo.path / "branchline.toml").read_text()
    command.refuses("init", cwd=repo.path, error="is there already", remedy="--force")


def test_init_says_where_it_cannot_write(command: Command, shop: Repo) -> None:
    (shop.path / "branchline.toml").mkdir()
    command.refuses("init", "--force", cwd=shop.path, error="branchline.toml can't be written: Is a directory")
    command.refuses("init", cwd=shop.add_origin(), error="a bare repository has no files", remedy="run it in a clone")


def test_a_detached_head_needs_the_branch(command: Command, shop: Repo) -> None:
    git(shop.path, "checkout", "--quiet", "--detach")
    command.refuses("deploy", cwd=shop.path, error="HEAD is detached", remedy="--branch")
    command.refuses("show", cwd=shop.path, error="which branch?", remedy="give the branch's name")


def test_an_ambiguous_commit_lists_those_that_are_meant(command: Command, shop: Repo) -> None:
    commits = {shop.head}
    while True:  # four digits collide within a few hundred commits
        tree = git(shop.path, "rev-parse", "HEAD^{tree}")
        commit = git(shop.path, "commit-tree", tree, "-p", "HEAD", "-m", str(len(commits)))
        if any(commit[:4] == other[:4] for other in commits):
            break
        commits.add(commit)
    result = command("deploy", "--branch", "main", "--commit", commit[:4], cwd=shop.path)
    assert (result.code, result.error) == (2, f"{commit[:4]!r} is the beginning of 2 commits in {shop.path}")
    assert commit in result.err


def test_wrong_settings_of_the_commit_are_all_named_with_the_nearest_right_key(command: Command, shop: Repo) -> None:
    commit = shop.commit(files={"branchline.toml": 'prot = 80\nport = "x"\n[limits]\nmemory = "1"\n'})[:12]
    result = command("deploy", cwd=shop.path)
    assert result.code == 2
    for line in (
        f"branchline.toml at {commit}:1: prot: unknown key; did you mean port?",
        f'branchline.toml at {commit}:2: port: expected a whole number from 1 to 65535, got "x"',
        f"branchline.toml at {commit}:4: limits.memory: expected memory such as",
    ):
        assert line in result.err
    # The other commands want nothing but the project's name of that file.
    command.refuses("list", cwd=shop.path, error="did you mean port?", remedy="give --project NAME")
    command.refuses("list", "--project", "shop", cwd=shop.path, error=NO_ENGINE, code=1)


def test_a_missing_env_file_and_limits_above_the_platforms_are_refused(command: Command, shop: Repo) -> None:
    shop.commit(files={"branchline.toml": 'env_files = [".env"]\n'})
    command.refuses("deploy", cwd=shop.path, error=".env: no such env file in", remedy="take it out of env_files")
    shop.commit(files={"branchline.toml": '[limits]\nmemory = "900g"\n'})
    command.refuses("deploy", cwd=shop.path, error="900g is above the ceiling of 4g", remedy="ask for less")
    shop.commit(files={"branchline.toml": '[branches]\ninclude = ["x/*"]\n'})
    command.refuses("deploy", cwd=shop.path, error="main gets no environment", remedy="include = ['x/*']")


@pytest.mark.parametrize(
    ("variables", "error", "remedy"),
    [
        ({"BRANCHLINE_DOMIAN": "x.test"}, "BRANCHLINE_DOMIAN: unknown variable; did you mean BRANCHLINE_DOMAIN?", "re"),
        ({"BRANCHLINE_PARALLEL": "many"}, 'BRANCHLINE_PARALLEL: expected a whole number from 1 to 256, got "many"', ""),
        ({"BRANCHLINE_CONFIG": "/nonexistent.toml"}, "/nonexistent.toml: no such file", "unset BRANCHLINE_CONFIG"),
        ({"BRANCHLINE_CONFIG": "/"}, "/ can't be read: Is a directory", "correct the path"),
        ({"BRANCHLINE_STATE_DIR": "state"}, 'BRANCHLINE_STATE_DIR: expected an absolute path, got "state"', ""),
    ],
)
def test_wrong_settings_of_the_platform_name_their_variable(
    command: Command, shop: Repo, variables: dict[str, str], error: str, remedy: str
) -> None:
    for name in ("deploy", "list", "doctor"):
        command.refuses(name, cwd=shop.path, error=error, remedy=remedy, env=variables)


def test_wrong_settings_of_the_platform_name_file_and_line(command: Command, shop: Repo, tmp_path: Path) -> None:
    file = tmp_path / "platform.toml"
    file.write_text("[router]\nhttp_port = true\nhtps = 1\n[dcoker]\n")
    result = command("list", cwd=shop.path, env={"BRANCHLINE_CONFIG": str(file)})
    assert result.code == 2
    assert f"{file}:2: router.http_port: expected a whole number from 1 to 65535, got true" in result.err
    assert f"{file}:3: router.htps: unknown key; did you mean router.https?" in result.err
    assert f"{file}:4: dcoker: unknown key; did you mean docker?" in result.err
