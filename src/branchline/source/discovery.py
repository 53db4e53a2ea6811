"""Finding the repository that a path or a URL means."""

from __future__ import annotations

from pathlib import Path

from branchline.errors import ConfigurationError, NotFoundError
from branchline.source.git import Git, complaint, complaints
from branchline.source.location import absolute, is_url, last_part, without_credentials
from branchline.source.mirror import mirror
from branchline.source.repository import Repository

_DEFAULT_REMOTE = "origin"


class NoRepositoryError(NotFoundError):
    """There is no git repository around a directory."""


def open_repository(
    location: str | None, cache: Path, remote: str = _DEFAULT_REMOTE, *, may_be_empty: bool = False
) -> Repository:
    """The repository at a path (a clone, a worktree, a bare repository, or a directory in one), at a URL, or around
    the current directory.

    Of a URL, a bare mirror is kept in `cache` and brought up to date. `remote` is which of a clone's remotes counts; a
    clone with a single remote needn't name it.

    Raises:
        NoRepositoryError: there is none around the directory.
        NotFoundError: there is no such directory, or nothing has been committed to the repository, which only a caller
            that needs no commit allows with `may_be_empty`.
        ConfigurationError: git refuses the repository for its owner, the clone has no such remote, or the location is
            a kind of URL that isn't read.
        SourceError: git is missing, or the remote can't be read.
    """
    if location is not None and is_url(location):
        url = without_credentials(location)
        repository = Repository(
            url=url,
            directory=mirror(location, cache),
            root=None,
            name=last_part(url),
            address=location,
            mirrored=True,
        )
    else:
        repository = _open_local(Path(location or "."), remote)
    if may_be_empty:
        return repository
    git = Git(repository.directory, repository.root)
    empty = git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}").code != 0
    if empty and not git.read("for-each-ref", "--count=1").output:
        raise NotFoundError(f"{repository.url} has no commits yet", remedy="commit something, and push it")
    return repository


def _open_local(path: Path, remote: str) -> Repository:
    try:
        place = path.resolve()
    except FileNotFoundError:  # a relative path, and nothing to start it from
        raise NotFoundError("the current directory doesn't exist any more", remedy="go to one that does") from None
    if not place.is_dir():
        raise NotFoundError(
            f"{path} is not a directory" if place.exists() else f"{path} does not exist",
            remedy="name a directory in a git repository, or a URL",
        )
    directory = _ask_where(place, "--absolute-git-dir")
    top = Git().ask("-C", str(place), "rev-parse", "--show-toplevel")  # fails where there is no working tree
    root = Path(top.text) if top.code == 0 and top.text else None
    common = place / _ask_where(place, "--git-common-dir")  # of a linked worktree: the main one's
    home = common.resolve().parent if common.name == ".git" else root or directory
    git = Git(directory, root)
    name = _tracked_remote(git, remote)
    if name is None:
        return Repository(url=str(home), directory=directory, root=root, name=home.name, address=None)
    url = without_credentials(absolute(git.read("remote", "get-url", "--", name).text, root or directory))
    return Repository(
        url=url,
        directory=directory,
        root=root,
        name=last_part(url),
        address=name,
        tracking=f"refs/remotes/{name}/",
    )


def _ask_where(place: Path, option: str) -> Path:
    """What `git rev-parse` says about where the repository around a directory has its parts."""
    answer = Git().ask("-C", str(place), "rev-parse", option)
    if answer.code == 0:
        return Path(answer.text)
    said = complaints(answer.errors)
    advice = next((line for line in said if "safe.directory" in line), "")
    if advice:
        raise ConfigurationError(
            f"git won't read {place}: its repository belongs to another user", remedy=f"if you trust it: {advice}"
        )
    if any("not a git repository" in line for line in said):
        raise NoRepositoryError(
            f"{place} is not in a git repository",
            remedy="go to a clone, or name a repository's path or URL; `git init` makes one",
        )
    raise ConfigurationError(
        f"git can't open the repository at {place}: {complaint(answer.errors)}", remedy="repair it, or clone it again"
    )


def _tracked_remote(git: Git, wanted: str) -> str | None:
    """The remote whose branches count, or None where those of the repository itself do.

    That is so without a remote. And a bare repository has remotes that it doesn't fetch from: `git clone --bare` notes
    where it came from, once; from then on it is pushed to and is the truth itself.
    """
    names = git.read("remote").text.split()
    if wanted not in names:
        if not names:
            return None
        if wanted != _DEFAULT_REMOTE or len(names) > 1:
            raise ConfigurationError(
                f"{git.root or git.directory} has no remote {wanted!r}",
                remedy=f"choose the one that branches are pushed to: {', '.join(names)}",
            )
        wanted = names[0]
    fetches = git.root is not None or git.ask("config", "--get-all", f"remote.{wanted}.fetch").code == 0
    has_url = git.ask("config", "--get-all", f"remote.{wanted}.url").code == 0
    return wanted if fetches and has_url else None
