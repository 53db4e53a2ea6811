"""Which repository a location means, which commit a branch means, and what the repository says about them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from branchline.errors import ConfigurationError, NotFoundError, SourceError
from branchline.source import Repository, open_repository
from tests.repositories import Repo, git

MakeRepository = Callable[..., Repo]
FILES = {"Dockerfile": "FROM scratch\n"}


def opened(location: Path | str, remote: str = "origin") -> Repository:
    return open_repository(str(location), Path("/nowhere/needed"), remote)


@pytest.fixture
def shop(repository: MakeRepository) -> Repo:
    """A repository with one commit and no remote."""
    return repository(FILES)


@pytest.fixture
def cloned(shop: Repo) -> Repo:
    """A repository whose main is pushed to its origin."""
    shop.add_origin()
    return shop


def test_a_clone_is_found_from_its_root_and_from_any_directory_in_it(shop: Repo) -> None:
    (shop.path / "a/b").mkdir(parents=True)
    for place in (shop.path, shop.path / "a/b"):
        found = opened(place)
        assert (found.root, found.directory) == (shop.path, shop.path / ".git")
        assert found.url == str(shop.path)
        assert found.current_branch() == "main"
        assert found.project_name() == "shop"


def test_without_a_location_it_is_the_repository_around_the_current_directory(
    shop: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (shop.path / "app").mkdir()
    monkeypatch.chdir(shop.path / "app")
    assert open_repository(None, tmp_path).root == shop.path


def test_the_git_directory_of_a_clone_is_the_clone_without_its_files(shop: Repo) -> None:
    found = opened(shop.path / ".git")
    assert (found.root, found.project_name()) == (None, "shop")
    assert found.resolve("main") == shop.head


def test_a_linked_worktree_has_its_own_branch_and_the_projects_name(shop: Repo, tmp_path: Path) -> None:
    git(shop.path, "worktree", "add", "--quiet", "-b", "feature", str(tmp_path / "elsewhere"))
    found = opened(tmp_path / "elsewhere")
    assert (found.root, found.current_branch(), found.project_name()) == (tmp_path / "elsewhere", "feature", "shop")
    assert found.url == str(shop.path)
    assert found.resolve("main") == found.resolve("feature") == shop.head


def test_a_bare_repository_is_itself_the_remote_even_if_it_was_cloned_from_elsewhere(cloned: Repo) -> None:
    commit = cloned.commit()
    git(cloned.path, "push", "--quiet", "origin", "main:refs/heads/only-pushed")
    found = opened(cloned.origin)  # it notes this clone as its own origin
    assert (found.root, found.url, found.project_name()) == (None, str(cloned.origin), "shop")
    assert found.branches() == {"main", "only-pushed"}
    assert found.tip("only-pushed") == commit
    assert found.current_branch() == "main"
    assert not found.uncommitted("Dockerfile")


def test_a_clone_takes_its_name_and_url_from_its_remote(cloned: Repo) -> None:
    git(cloned.path, "remote", "set-url", "origin", "https://ada:s3cret@git.test/team/web-shop.git/")
    found = opened(cloned.path)
    assert (found.url, found.project_name()) == ("https://git.test/team/web-shop.git/", "web-shop")
    assert "s3cret" not in repr(found)
    git(cloned.path, "remote", "set-url", "origin", "git@git.test:web.git")
    assert (opened(cloned.path).url, opened(cloned.path).project_name()) == ("git@git.test:web.git", "web")


def test_a_remote_at_a_relative_path_is_read_from_anywhere(cloned: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    git(cloned.path, "remote", "set-url", "origin", "../shop.git")
    monkeypatch.chdir("/")
    assert opened(cloned.path).url == str(cloned.origin)
    assert opened(cloned.path).branches() == {"main"}


def test_a_clones_only_remote_counts_whatever_its_name(cloned: Repo) -> None:
    git(cloned.path, "remote", "rename", "origin", "github")
    assert opened(cloned.path).url == str(cloned.origin)
    assert opened(cloned.path, "github").branches() == {"main"}


def test_a_remote_that_does_not_exist_is_never_taken_for_no_remote(cloned: Repo) -> None:
    with pytest.raises(ConfigurationError, match="no remote 'upstream'") as caught:
        opened(cloned.path, "upstream")
    assert "origin" in caught.value.remedy


def test_of_several_remotes_one_must_be_named(cloned: Repo) -> None:
    git(cloned.path, "remote", "rename", "origin", "github")
    git(cloned.path, "remote", "add", "gitlab", str(cloned.origin))
    with pytest.raises(ConfigurationError) as caught:
        opened(cloned.path)
    assert "github, gitlab" in caught.value.remedy


@pytest.mark.parametrize("location", ["", "missing", "file"])
def test_what_is_no_repository_is_a_mistake_of_usage(tmp_path: Path, location: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError) as caught:
        opened(tmp_path / location)
    assert str(tmp_path) in caught.value.message
    assert (caught.value.exit_code, bool(caught.value.remedy)) == (2, True)


def test_a_repository_without_commits_says_so(tmp_path: Path, shop: Repo) -> None:
    empty = Repo.create(tmp_path / "empty")
    with pytest.raises(NotFoundError, match="has no commits yet"):
        opened(empty.path)
    git(shop.path, "checkout", "--quiet", "--orphan", "unborn")
    assert opened(shop.path).current_branch() == "unborn"
    with pytest.raises(NotFoundError, match="no branch 'unborn'"):
        opened(shop.path).resolve("unborn")


def test_another_users_repository_says_how_to_trust_it(shop: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ConfigurationError, match="belongs to another user") as caught:
        opened(shop.path)
    assert caught.value.remedy.endswith(f"git config --global --add safe.directory {shop.path}")


def test_a_damaged_repository_is_not_a_missing_one(shop: Repo) -> None:
    (shop.path / ".git/config").write_text("[core\n")
    with pytest.raises(ConfigurationError, match="can't open the repository") as caught:
        opened(shop.path)
    assert "bad config" in caught.value.message


def test_a_missing_git_says_how_to_install_it(shop: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SourceError, match="git is not installed") as caught:
        opened(shop.path)
    assert "apt-get install git" in caught.value.remedy


def test_a_branch_is_the_clones_own_before_what_was_fetched(cloned: Repo) -> None:
    pushed = cloned.head
    git(cloned.path, "push", "--quiet", "origin", "main:refs/heads/fetched")
    mine = cloned.commit("not pushed")
    found = opened(cloned.path)
    assert found.resolve("main") == found.tip("main") == mine
    assert found.resolve("fetched") == found.tip("fetched") == pushed
    assert found.branches() == {"main", "fetched"}


def test_an_unknown_branch_is_answered_with_the_nearest(cloned: Repo) -> None:
    cloned.branch("feature/login")
    git(cloned.path, "push", "--quiet", "origin", "main:refs/heads/feature/logout")
    with pytest.raises(NotFoundError, match="has no branch 'feature/logni'") as caught:
        opened(cloned.path).resolve("feature/logni")
    assert "feature/login" in caught.value.remedy
    assert "feature/logout" in caught.value.remedy
    with pytest.raises(NotFoundError) as caught:
        opened(cloned.path).resolve("something-else-entirely")
    assert "git fetch" in caught.value.remedy


def test_a_directory_of_branches_is_no_branch(shop: Repo) -> None:
    shop.branch("feature/login")
    assert opened(shop.path).tip("feature") is None
    assert opened(shop.path).tip("login") is None


def test_a_detached_head_has_no_branch_and_its_commit_deploys_under_a_name_that_is_not_known_here(shop: Repo) -> None:
    git(shop.path, "checkout", "--quiet", "--detach")
    git(shop.path, "branch", "--quiet", "-D", "main")
    found = opened(shop.path)
    assert found.current_branch() is None
    assert found.resolve("feature/ci", shop.head) == shop.head
    assert found.resolve("feature/ci", "HEAD") == shop.head


def test_a_commit_is_given_by_its_id_its_beginning_or_a_tag(shop: Repo) -> None:
    first = shop.head
    git(shop.path, "tag", "--annotate", "--message", "one", "v1.0")
    git(shop.path, "tag", "20240131")  # could be the beginning of an id
    shop.commit()
    found = opened(shop.path)
    for given in (first, first[:10], first.upper(), "v1.0", "20240131"):
        assert found.resolve("main", given) == first


def test_a_branch_named_like_a_commit_does_not_hide_the_commit(shop: Repo) -> None:
    first = shop.head
    second = shop.commit()
    shop.branch(first, second)
    shop.branch(first[:8], second)
    found = opened(shop.path)
    assert found.resolve("main", first) == found.resolve("main", first[:8]) == first
    assert found.resolve(first) == found.resolve(first[:8]) == second


def test_a_tag_named_like_a_branch_does_not_hide_the_branch(shop: Repo) -> None:
    first = shop.head
    git(shop.path, "tag", "main")
    git(shop.path, "tag", "refs/heads/gone")
    second = shop.commit()
    found = opened(shop.path)
    assert found.current_branch() == "main"
    assert found.resolve("main") == found.tip("main") == second
    assert found.resolve("main", "main") == first  # --commit takes tags
    assert found.tip("gone") is None


@pytest.mark.parametrize("commit", ["0" * 40, "abcdef1", "v9", "", "-x", "--all", "a\0b", "\ud800", "main:Dockerfile"])
def test_a_commit_that_does_not_exist_is_not_found(shop: Repo, commit: str) -> None:
    with pytest.raises(NotFoundError, match="has no commit"):
        opened(shop.path).resolve("main", commit)


def test_an_object_that_is_no_commit_is_not_found(shop: Repo) -> None:
    with pytest.raises(NotFoundError):
        opened(shop.path).resolve("main", git(shop.path, "rev-parse", "HEAD:Dockerfile"))


def test_an_ambiguous_beginning_of_an_id_is_not_guessed(shop: Repo) -> None:
    seen: dict[str, str] = {}
    tree = git(shop.path, "rev-parse", "HEAD^{tree}")
    for number in range(2000):
        commit = git(shop.path, "commit-tree", "-m", str(number), tree)
        if commit[:4] in seen:
            break
        seen[commit[:4]] = commit
    with pytest.raises(ConfigurationError, match="beginning of 2 commits") as caught:
        opened(shop.path).resolve("main", commit[:4])
    assert set(caught.value.details) == {commit, seen[commit[:4]]}


def test_a_shallow_clone_says_how_to_get_more_history(shop: Repo, tmp_path: Path) -> None:
    first = shop.head
    second = shop.commit()
    git(tmp_path, "clone", "--quiet", "--depth=1", shop.path.as_uri(), "shallow")
    found = opened(tmp_path / "shallow")
    assert found.resolve("main") == second
    assert not found.is_ancestor(first, second)
    with pytest.raises(NotFoundError) as caught:
        found.resolve("main", first)
    assert "--unshallow" in caught.value.remedy


NAMES = [
    "feature/login",
    "123",
    "a.b--c_d+e=f,g;h'i\"j$k&l(m)n|o!p#q%r",
    "ünïcode/日本語",
    "🚀/🎉",
    "line\u2028and\u0085next\u00a0blank",
    "x" * 250,
    "not-utf8-\udcff\udcfe",
    "@",
    "refs/heads/main",
    "origin/main",
    "UPPER",
    "Head",
]


def test_branches_have_any_name_that_git_allows(cloned: Repo) -> None:
    for name in NAMES:
        git(cloned.path, "update-ref", f"refs/heads/{name}", cloned.head)
        git(cloned.path, "push", "--quiet", "origin", f"refs/heads/{name}:refs/heads/{name}")
    found = opened(cloned.path)
    for name in NAMES:
        assert found.resolve(name) == found.tip(name) == cloned.head
    assert found.branches() == opened(cloned.origin).branches() == {"main", *NAMES}
    git(cloned.path, "symbolic-ref", "HEAD", f"refs/heads/{NAMES[7]}")
    assert found.current_branch() == NAMES[7]


REFUSED = [
    *["", "-", "--all", "-b", "HEAD", "@{-1}", "@{u}", "a..b", "a b", "a~1", "a^", "a:b", "a*", "a?", "[a]", "a\\b"],
    *["/a", "a/", "a//b", "a.lock", ".a", "a/.b", "a.", "a\n", "a\0b", "a\x7f", "\ud800"],
]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_names_that_git_does_not_allow_are_refused_and_not_expanded(shop: Repo, name: str) -> None:
    shop.checkout("other", create=True)
    shop.checkout("main")
    for ask in (opened(shop.path).resolve, opened(shop.path).tip):
        with pytest.raises(ConfigurationError, match="can't be the name of a branch") as caught:
            ask(name)
        assert not isinstance(caught.value, NotFoundError)


def test_tip_and_branches_follow_commits_force_pushes_and_deletions(cloned: Repo) -> None:
    local, bare = opened(cloned.path), opened(cloned.origin)
    first = cloned.head
    cloned.checkout("feature", create=True)
    second = cloned.commit()
    cloned.push("feature")
    assert local.tip("feature") == bare.tip("feature") == second
    git(cloned.path, "reset", "--quiet", "--hard", first)
    third = cloned.commit("instead")
    cloned.push("feature", force=True)
    assert local.tip("feature") == bare.tip("feature") == third
    cloned.checkout("main")
    cloned.delete_branch("feature")
    cloned.push("feature")
    assert local.tip("feature") is bare.tip("feature") is None
    assert local.branches() == bare.branches() == {"main"}


def test_a_branch_that_only_the_remote_has_is_asked_for_there(cloned: Repo) -> None:
    git(cloned.origin, "branch", "never-fetched", "main")
    assert opened(cloned.path).tip("never-fetched") == cloned.head
    assert opened(cloned.path).tip("never") is None


def test_an_unreachable_remote_is_an_error_and_never_no_branches(cloned: Repo) -> None:
    cloned.origin.rename(cloned.origin.with_name("moved.git"))
    found = opened(cloned.path)
    assert found.resolve("main") == cloned.head
    for ask in (found.branches, lambda: found.tip("unknown")):
        with pytest.raises(SourceError, match="does not appear to be a git repository") as caught:
            ask()
        assert (caught.value.exit_code, str(cloned.origin) in caught.value.message) == (1, True)
        assert "git ls-remote" in caught.value.remedy


def test_a_damaged_branch_is_an_error_and_never_a_deleted_branch(shop: Repo) -> None:
    shop.branch("feature")
    (shop.path / ".git/refs/heads/feature").write_text("")
    found = opened(shop.path)
    for ask in (found.branches, lambda: found.tip("feature")):
        with pytest.raises(SourceError, match="is damaged"):
            ask()


def test_ancestors_are_told_from_strangers(shop: Repo) -> None:
    first = shop.head
    second = shop.commit()
    git(shop.path, "checkout", "--quiet", "-b", "aside", first)
    aside = shop.commit("aside")
    found = opened(shop.path)
    assert found.is_ancestor(first, second)
    assert found.is_ancestor(first, first)
    assert not found.is_ancestor(second, first)
    assert not found.is_ancestor(second, aside)
    assert not found.is_ancestor("0" * 40, second)
    assert not found.is_ancestor("--all", second)


def test_files_are_read_from_the_commit_and_not_from_the_working_copy(shop: Repo) -> None:
    (shop.path / "app").mkdir()
    (shop.path / "app/link.toml").symlink_to("../branchline.toml")
    (shop.path / "astray").symlink_to("nowhere")
    commit = shop.commit(files={"branchline.toml": "port = 80\n# ü\n", "latin": b"\xfc"})
    shop.write({"branchline.toml": "port = 81\n", "new": ""})
    found = opened(shop.path)
    assert found.read(commit, "branchline.toml") == found.read(commit, "./app/../branchline.toml") == "port = 80\n# ü\n"
    assert found.read(commit, "app/link.toml") == "port = 80\n# ü\n"
    for missing in ("new", "app", "astray", ".", "branchline.toml/x", "nö*"):
        assert found.read(commit, missing) is None
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        found.read(commit, "latin")
    for outside in ("/etc/passwd", "../x", "a/../../x", "a\nb"):
        with pytest.raises(ConfigurationError, match="leads out"):
            found.read(commit, outside)


def test_a_commit_is_described_by_its_first_line_and_its_author(shop: Repo) -> None:
    commit = shop.commit("Größer: 🚀\n\nAnd more.")
    assert opened(shop.path).subject(commit) == "Größer: 🚀"
    assert opened(shop.path).author(commit) == "Ada"


def test_edits_that_are_not_committed_are_noticed_per_file(shop: Repo) -> None:
    shop.commit(files={"branchline.toml": "", "*": "", ".gitignore": "ignored\n", "app/x": ""})
    found = opened(shop.path / "app")
    assert not any(found.uncommitted(path) for path in ("branchline.toml", "Dockerfile", "missing", "*", "app/x"))
    shop.write({"branchline.toml": "port = 80\n", "untracked": "", "ignored": ""})
    (shop.path / "app/x").unlink()
    assert all(found.uncommitted(path) for path in ("branchline.toml", "untracked", "ignored", "app/x"))
    assert not any(found.uncommitted(path) for path in ("Dockerfile", "*"))
    git(shop.path, "add", "branchline.toml")
    assert found.uncommitted("branchline.toml")


def test_submodules_are_listed(shop: Repo, repository: MakeRepository) -> None:
    library = repository(FILES, name="library")
    assert opened(shop.path).submodules(shop.head) == []
    git(shop.path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "lib/ü")
    commit = shop.commit()
    assert opened(shop.path).submodules(commit) == ["lib/ü"]
    assert opened(shop.path / "lib/ü").root == shop.path / "lib/ü"


def test_a_hooks_environment_does_not_lead_to_the_hooks_repository(
    cloned: Repo, repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository({"other": ""}, name="other")
    for name, value in {
        "GIT_DIR": str(other.path / ".git"),
        "GIT_WORK_TREE": str(other.path),
        "GIT_INDEX_FILE": str(other.path / ".git/index"),
        "GIT_OBJECT_DIRECTORY": str(other.path / ".git/objects"),
        "GIT_QUARANTINE_PATH": str(other.path / ".git/objects"),
        "GIT_PREFIX": "nowhere/",
        "GIT_COMMON_DIR": str(other.path / ".git"),
    }.items():
        monkeypatch.setenv(name, value)
    for place in (cloned.path, cloned.origin):
        found = opened(place)
        commit = found.resolve("main")
        assert found.branches() == {"main"}
        assert found.read(commit, "Dockerfile") == FILES["Dockerfile"]
        assert found.read(commit, "other") is None
        assert not found.uncommitted("Dockerfile")


def test_a_post_receive_hook_opens_the_repository_it_runs_in(cloned: Repo, tmp_path: Path) -> None:
    hook = cloned.origin / "hooks/post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!{sys.executable}\n"
        "from pathlib import Path\n"
        "from branchline.source import open_repository\n"
        f"found = open_repository(None, Path({str(tmp_path)!r}))\n"
        f"Path({str(tmp_path / 'seen')!r}).write_text(f\"{{found.directory}} {{found.resolve('main')}}\")\n"
    )
    hook.chmod(0o755)
    commit = cloned.commit()
    cloned.push("main")
    assert (tmp_path / "seen").read_text() == f"{cloned.origin} {commit}"


def test_nothing_is_written_to_a_clone(cloned: Repo) -> None:
    (cloned.path / "Dockerfile").touch()  # which would make `git status` refresh the index
    before = {path: path.stat().st_mtime_ns for path in (cloned.path / ".git").rglob("*")}
    found = opened(cloned.path)
    found.branches()
    found.tip("unknown")
    found.uncommitted("Dockerfile")
    assert {path: path.stat().st_mtime_ns for path in (cloned.path / ".git").rglob("*")} == before
