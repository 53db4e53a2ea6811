"""The build context: a commit's tree as a tar stream."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from branchline.errors import ConfigurationError, SourceError
from branchline.settings.application import Build
from branchline.source import open_repository
from branchline.source.git import stop
from tests.repositories import Repo, git
from tests.waiting import eventually

MakeRepository = Callable[..., Repo]
FILES = {"Dockerfile": "FROM scratch\n"}


def raw_context(repo: Repo, commit: str, build: Build | None = None) -> bytes:
    with open_repository(str(repo.path), Path("/nowhere/needed")).context(commit, build or Build()) as stream:
        return stream.read()


def unpacked(raw: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """The archive's members by name, the root's own entry aside."""
    with tarfile.open(fileobj=io.BytesIO(raw), encoding="utf-8", errors="surrogateescape") as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            found[member.name] = (member, file.read() if file else b"")
    del found["."]
    return found


def files(repo: Repo, commit: str, build: Build | None = None) -> dict[str, str]:
    """The content of the context's files."""
    members = unpacked(raw_context(repo, commit, build)).items()
    return {name: content.decode() for name, (member, content) in members if member.isreg()}


@pytest.fixture
def shop(repository: MakeRepository) -> Repo:
    return repository(FILES)


def test_holds_the_commits_files_and_neither_the_working_copy_nor_git(shop: Repo) -> None:
    old = shop.commit(files={"app/page": "old", "gone": ""})
    (shop.path / "gone").unlink()
    shop.commit(files={"app/page": "new"})
    shop.write({"app/page": "dirty", "untracked": "", "staged": ""})
    git(shop.path, "add", "staged")
    assert files(shop, old) == {**FILES, "app/page": "old", "gone": ""}
    assert files(shop, shop.head) == {**FILES, "app/page": "new"}


def test_keeps_modes_and_links_and_takes_owner_and_time_from_nowhere_but_the_commit(
    shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2024-02-03T04:05:06Z")
    git(shop.path, "config", "tar.umask", "0077")
    shop.write({"bin/run": "#!/bin/sh\n", "etc/a": ""})
    (shop.path / "bin/run").chmod(0o700)
    (shop.path / "bin/link").symlink_to("../etc/a")
    (shop.path / "astray").symlink_to("/" + "long/" * 40)
    members = {name: member for name, (member, _) in unpacked(raw_context(shop, shop.commit())).items()}
    modes = {name: member.mode for name, member in members.items() if not member.issym()}
    assert modes == {"Dockerfile": 0o644, "bin": 0o755, "bin/run": 0o755, "etc": 0o755, "etc/a": 0o644}
    assert members["bin/link"].linkname == "../etc/a"
    assert members["astray"].linkname == "/" + "long/" * 40
    for member in members.values():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert member.mtime == 1706933106


def test_is_the_same_each_time_and_from_any_clone(shop: Repo, tmp_path: Path) -> None:
    commit = shop.commit(files={"a/b": "c", "text": "1\n2\n"})
    bare = shop.add_origin()
    git(bare, "config", "core.autocrlf", "true")
    with open_repository(str(bare), tmp_path).context(commit, Build()) as stream:
        assert stream.read() == raw_context(shop, commit)


LONG = "/".join(["directory-" * 5] * 5)


@pytest.mark.parametrize("first", ["Dockerfile", f"A{LONG}/file", "A-\udcff/" + "ü" * 90, "A" + "🚀" * 60])
def test_never_uses_pax_and_begins_with_a_header_that_stands_alone(repository: MakeRepository, first: str) -> None:
    repo = repository({**FILES, first: "content\n"})
    raw = raw_context(repo, repo.head)
    # BuildKit decides on the first block alone whether this is a tar: a directory here, not x, g or L.
    assert (raw[156:157], raw[257:262]) == (b"5", b"ustar")
    assert len(raw) % tarfile.BLOCKSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(raw), encoding="utf-8", errors="surrogateescape") as archive:
        assert all(not member.pax_headers for member in archive)
        assert archive.pax_headers == {}
    assert unpacked(raw)[first][0].isreg()


def test_other_tar_programs_read_it(shop: Repo, tmp_path: Path) -> None:
    commit = shop.commit(files={f"{LONG}/file": "x" * 1000, "ünï/\udcff": "y", "empty": ""})
    subprocess.run(["tar", "xf", "-"], cwd=tmp_path, input=raw_context(shop, commit), check=True)
    assert (tmp_path / LONG / "file").read_text() == "x" * 1000
    assert (tmp_path / "ünï/\udcff").read_text() == "y"


def test_a_context_directory_is_the_root_of_its_context(shop: Repo) -> None:
    commit = shop.commit(
        files={
            "services/web/docker/Dockerfile.prod": "FROM scratch\n",
            "services/web/page": "hello",
            "services/website/page": "no",
            ".dockerignore": "page\n",
            ".gitattributes": "*.bat text eol=crlf\n",
            "services/web/run.bat": "a\nb\n",
        }
    )
    build = Build(context="./services//web/", dockerfile="docker/Dockerfile.prod")
    assert files(shop, commit, build) == {
        "docker/Dockerfile.prod": "FROM scratch\n",
        "page": "hello",
        "run.bat": "a\r\nb\r\n",  # as a checkout has it, by the attributes above the context too
    }


def test_names_of_directories_are_taken_literally(shop: Repo) -> None:
    commit = shop.commit(
        files={"a*/Dockerfile": "1", "ab/Dockerfile": "2", ":(top)/Dockerfile": "3", "-x/Dockerfile": "4"}
    )
    for directory, content in {"a*": "1", ":(top)": "3", "-x": "4"}.items():
        assert files(shop, commit, Build(context=directory)) == {"Dockerfile": content}


def test_the_ignore_file_keeps_paths_out_but_never_itself_or_the_dockerfile(shop: Repo) -> None:
    commit = shop.commit(
        files={
            ".dockerignore": "*\n!src\nsrc/*.pyc\n!/keep/this/one\n",
            "src/a.py": "a",
            "src/a.pyc": "",
            "docker/Dockerfile": "FROM scratch\n",
            "docker/other": "",
            "keep/this/one": "1",
            "keep/other": "",
        }
    )
    members = unpacked(raw_context(shop, commit, Build(dockerfile="docker/Dockerfile")))
    assert list(members) == [
        ".dockerignore",
        "docker",
        "docker/Dockerfile",
        "keep",
        "keep/this",
        "keep/this/one",
        "src",
        "src/a.py",
    ]


def test_a_dockerfiles_own_ignore_file_comes_before_the_contexts(shop: Repo) -> None:
    commit = shop.commit(
        files={
            ".dockerignore": "a",
            "a": "",
            "b": "",
            "docker/web.Dockerfile": "FROM scratch\n",
            "docker/web.Dockerfile.dockerignore": "b\ndocker\n.dockerignore",
        }
    )
    build = Build(dockerfile="docker/web.Dockerfile")
    assert sorted(files(shop, commit, build)) == [
        "Dockerfile",
        "a",
        "docker/web.Dockerfile",
        "docker/web.Dockerfile.dockerignore",
    ]
    assert sorted(files(shop, commit)) == sorted(
        [".dockerignore", "Dockerfile", "b", "docker/web.Dockerfile", "docker/web.Dockerfile.dockerignore"]
    )


def test_a_wrong_ignore_file_is_named_before_anything_is_read(shop: Repo) -> None:
    commit = shop.commit(files={".dockerignore": "a\n[b\n"})
    with pytest.raises(ConfigurationError, match=rf"^\.dockerignore in commit {commit[:12]}:2: '\[b'"):
        raw_context(shop, commit)


def test_a_missing_dockerfile_is_answered_with_those_that_there_are(shop: Repo) -> None:
    (shop.path / "Dockerfile").unlink()
    commit = shop.commit(files={"web/Dockerfile": "", "web/Dockerfile.dockerignore": "", "api/prod.Dockerfile": ""})
    shop.write(FILES)
    with pytest.raises(ConfigurationError, match=f"^commit {commit[:12]} has no 'Dockerfile'$") as caught:
        raw_context(shop, commit)
    assert caught.value.details == ("api/prod.Dockerfile", "web/Dockerfile")
    with pytest.raises(ConfigurationError, match=f"^commit {commit[:12]} has no 'Dockerfile' in 'api'$"):
        raw_context(shop, commit, Build(context="api"))
    with pytest.raises(ConfigurationError, match="has no 'web'"):
        raw_context(shop, commit, Build(dockerfile="web"))


def test_without_any_dockerfile_it_says_that_only_commits_count(shop: Repo) -> None:
    (shop.path / "Dockerfile").unlink()
    commit = shop.commit()
    with pytest.raises(ConfigurationError) as caught:
        raw_context(shop, commit)
    assert (caught.value.details, "until they are committed" in caught.value.remedy) == ((), True)


@pytest.mark.parametrize("context", ["missing", "Dockerfile", "Dockerfile/x", "link"])
def test_a_context_that_is_no_directory_of_the_commit_is_named(shop: Repo, context: str) -> None:
    (shop.path / "link").symlink_to("web")
    commit = shop.commit(files={"web/Dockerfile": ""})
    with pytest.raises(ConfigurationError, match=f"^commit {commit[:12]} has no directory '{context}'"):
        raw_context(shop, commit, Build(context=context))


@pytest.mark.parametrize("build", [Build(context=".."), Build(context="/etc"), Build(dockerfile="../Dockerfile")])
def test_paths_out_of_the_repository_are_refused(shop: Repo, build: Build) -> None:
    with pytest.raises(ConfigurationError, match="leads out of"):
        raw_context(shop, shop.head, build)


def test_export_ignore_leaves_files_out_but_a_dockerfile_so_marked_is_an_error(shop: Repo) -> None:
    commit = shop.commit(files={".gitattributes": "internal export-ignore\n", "internal/a": "", "b": ""})
    assert sorted(files(shop, commit)) == [".gitattributes", "Dockerfile", "b"]
    commit = shop.commit(files={".gitattributes": "Dockerfile export-ignore\n"})
    with pytest.raises(ConfigurationError, match="Dockerfile has the attribute export-ignore"):
        raw_context(shop, commit)


def test_a_submodule_is_an_empty_directory(shop: Repo) -> None:
    git(shop.path, "update-index", "--add", "--cacheinfo", f"160000,{shop.head},lib")
    git(shop.path, "commit", "--quiet", "--message", "lib")
    assert unpacked(raw_context(shop, shop.head))["lib"][0].isdir()


def test_is_read_in_pieces_of_any_size(shop: Repo) -> None:
    commit = shop.commit(files={"big": os.urandom(700_001), "small": "1"})
    whole = raw_context(shop, commit)
    for size in (1000, 1 << 16, 1 << 24):
        with open_repository(str(shop.path), shop.path).context(commit, Build()) as stream:
            assert b"".join(iter(lambda: stream.read(size), b"")) == whole  # noqa: B023 - called at once


def git_processes() -> list[int]:
    """The children of this process that run git."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                name = Path(f"/proc/{child}/comm").read_text().strip()
            except FileNotFoundError:
                continue
            if name == "git":
                found.append(int(child))
    return found


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_large_file_is_never_held_in_memory(shop: Repo) -> None:
    size = 48 << 20
    (shop.path / "big").touch()
    os.truncate(shop.path / "big", size)
    commit = shop.commit()
    found = open_repository(str(shop.path), shop.path)
    tracemalloc.start()
    try:
        with found.context(commit, Build()) as stream:
            tracemalloc.reset_peak()
            read = sum(len(chunk) for chunk in iter(lambda: stream.read(1 << 16), b""))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read > size
    assert peak < 4 << 20


def test_leaving_early_ends_git_and_leaves_nothing_open(shop: Repo) -> None:
    commit = shop.commit(files={f"f{number}": os.urandom(1 << 20) for number in range(8)})
    found = open_repository(str(shop.path), shop.path)
    before = open_files(), threading.active_count()
    for take in (0, 1, 1 << 20):
        with found.context(commit, Build()) as stream:
            stream.read(take)
            eventually(git_processes, "git is running")
        assert git_processes() == []
    with pytest.raises(KeyboardInterrupt), found.context(commit, Build()) as stream:
        stream.read(1)
        raise KeyboardInterrupt
    assert git_processes() == []
    gc.collect()  # a generator that was dropped would complain here
    assert (open_files(), threading.active_count()) == before


def test_a_killed_git_raises_and_goes_on_raising(shop: Repo) -> None:
    commit = shop.commit(files={f"f{number}": os.urandom(1 << 20) for number in range(8)})
    with open_repository(str(shop.path), shop.path).context(commit, Build()) as stream:
        stream.read(1 << 10)
        for process in git_processes():
            os.kill(process, 9)
        for _ in range(2):
            with pytest.raises(SourceError, match="git archive broke off"):
                while stream.read(1 << 20):
                    pass


@pytest.mark.parametrize("victim", ["a", "z"])
def test_a_damaged_object_raises_with_what_git_says(shop: Repo, victim: str) -> None:
    commit = shop.commit(files={name: os.urandom(1 << 20) for name in "ambz"})
    name = git(shop.path, "rev-parse", f"HEAD:{victim}")
    (shop.path / f".git/objects/{name[:2]}/{name[2:]}").unlink()
    with pytest.raises(SourceError, match="git archive broke off: ") as caught:
        raw_context(shop, commit)
    assert name in caught.value.message
    assert "git fsck" in caught.value.remedy


def test_a_stream_that_ends_too_soon_raises_whatever_git_says_of_it(
    shop: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = shop.commit(files={"big": os.urandom(1 << 20)})
    found = open_repository(str(shop.path), shop.path)
    (tmp_path / "programs").mkdir()
    cutting = tmp_path / "programs/git"
    cutting.write_text(
        f"#!/bin/sh\nPATH={os.environ['PATH']}\n"
        'case "$*" in *archive*) git "$@" | head -c 500000 ;; *) exec git "$@" ;; esac\n'
    )
    cutting.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:{os.environ['PATH']}")
    with found.context(commit, Build()) as stream, pytest.raises(SourceError, match="git archive broke off"):
        stream.read()


def test_contexts_are_read_side_by_side(shop: Repo) -> None:
    commit = shop.commit(files={"big": os.urandom(3 << 20)})
    whole = raw_context(shop, commit)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(raw_context(shop, commit))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [whole] * 8


def test_stopping_git_twice_is_harmless() -> None:
    process = subprocess.Popen(["git", "--version"], stdout=subprocess.DEVNULL, start_new_session=True)
    eventually(lambda: process.poll() is not None, "git has told its version")
    stop(process)
