"""`branchline deploy`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from branchline.cancellation import Cancellation
from branchline.cli.announcing import announcing, of_commit
from branchline.cli.options import (
    branch_named,
    json_option,
    open_source,
    project_of,
    project_option,
    repo_option,
    timeout_option,
)
from branchline.cli.output import environment_json, print_json, url
from branchline.cli.progress import progress
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError
from branchline.events import Note, Publish
from branchline.ports import Push
from branchline.settings.application import FILE_NAME, Application, branch_selected
from branchline.settings.env_files import read_env
from branchline.settings.limits import check_limits
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_application, read_platform
from branchline.source import Repository

_COMMIT = re.compile(r"[0-9a-f]{4,64}")
"""An id of git's, maybe abbreviated. It becomes part of an image's name."""


@click.command()
@repo_option
@click.option("--branch", metavar="BRANCH", help="The branch; otherwise the checked-out one.")
@click.option("--commit", metavar="COMMIT", help="The commit; otherwise the branch's latest.")
@click.option("--image", metavar="REF", help="Run an image that was built elsewhere, in place of a build.")
@project_option
@click.option("--force", is_flag=True, help="Build and start again even if nothing changed, or a newer commit serves.")
@click.option("--without-secrets", is_flag=True, help="Give it neither env files nor secrets: for a fork's commit.")
@timeout_option("Give up, and leave what serves now, after so many seconds.")
@click.option("-v", "--verbose", is_flag=True, help="Keep every line that the build prints.")
@json_option
def deploy_command(
    repo: str | None,
    branch: str | None,
    commit: str | None,
    image: str | None,
    project: str | None,
    force: bool,
    without_secrets: bool,
    timeout: float | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Give a branch's commit its URL.

    Builds the commit's tree (never the working copy's changes), starts it, waits until it is healthy, points the
    branch's URL at it, and then stops the release that served before. The URL is printed on standard output, progress
    on standard error.
    """
    settings = read_platform()
    repository = open_source(settings, repo)
    with announcing(settings) as told, progress(quiet=as_json, verbose=verbose) as show:
        push = _push(
            settings, repository, branch, commit, image, project, show, force=force, secrets=not without_secrets
        )
        publish = told.listening(show, lambda: {push.environment: of_commit(repository, push.commit)})

        from branchline import lifecycle
        from branchline.platform import assemble

        platform = assemble(settings)
        ready = lifecycle.deploy(platform, push, publish, Cancellation(), timeout)
    if as_json:
        environment = environment_json(lifecycle.require(platform, push.environment))
        print_json(environment | {"seconds": ready.seconds, "first": ready.first, "unchanged": ready.unchanged})
    else:
        url(ready.url)


def _push(
    settings: PlatformSettings,
    repository: Repository | None,
    branch: str | None,
    commit: str | None,
    image: str | None,
    project: str | None,
    publish: Publish,
    *,
    force: bool,
    secrets: bool,
) -> Push:
    """The change that the command line means; everything that can be wrong with it is found here."""
    if image == "":
        raise ConfigurationError("--image is empty", remedy="name an image, or leave it out to build the commit")
    if branch is not None:
        branch = branch_named(branch)
    if repository is None:
        return _image_push(settings, branch, commit, image, project, force=force, secrets=secrets)
    if branch is None:
        branch = repository.current_branch()
    if branch is None:
        raise ConfigurationError(
            "which branch? None is checked out (HEAD is detached)", remedy="give --branch BRANCH, as CI knows it"
        )
    full = repository.resolve(branch, commit)
    text = repository.read(full, FILE_NAME)
    application = _application(text, f"{FILE_NAME} at {full[:12]}", secrets=secrets)
    environment = EnvironmentId(settings.platform, project_of(repository, project, full), branch)
    _check_branch(application, branch)
    check_limits(application, settings, f"{FILE_NAME} at {full[:12]}")
    if repository.uncommitted(FILE_NAME):
        publish(
            Note(environment, f"{FILE_NAME} has changes that aren't in {full[:12]}; the commit's counts", warning=True)
        )
    for submodule in repository.submodules(full):
        publish(Note(environment, f"the submodule {submodule} is not in the build context", warning=True))
    env, values = _env(settings, application, repository.root or Path.cwd())
    for name in application.secrets.keys() - env.keys() if settings.engine == "docker" else ():
        text = f"{name} is not set: on one machine, an env file gives the values of secrets"
        publish(Note(environment, text, warning=True))
    return Push(
        environment=environment,
        commit=full,
        application=application,
        source=repository,
        branch_known=repository.knows(branch),
        image=image or "",
        env=env,
        secrets=values,
        force=force,
    )


def _image_push(
    settings: PlatformSettings,
    branch: str | None,
    commit: str | None,
    image: str | None,
    project: str | None,
    *,
    force: bool,
    secrets: bool,
) -> Push:
    """Without a repository: an image, and the names that would have come from one."""
    if not image:
        raise ConfigurationError(
            f"{Path.cwd()} is in no git repository",
            remedy="run it in one, give --repo PATH_OR_URL, or give --image REF",
        )
    if not (project and branch and commit):
        raise ConfigurationError(
            "outside a repository, --image needs --project, --branch and --commit", remedy="give all three"
        )
    if not _COMMIT.fullmatch(commit):
        raise ConfigurationError(f"{commit!r} is no commit's id", remedy="give it as git has it: git rev-parse HEAD")
    application = _application(_text(Path(FILE_NAME)), FILE_NAME, secrets=secrets)
    check_limits(application, settings, FILE_NAME)
    env, values = _env(settings, application, Path.cwd())
    environment = EnvironmentId(settings.platform, project, branch)
    return Push(environment, commit, application, image=image, env=env, secrets=values, force=force)


def _application(text: str | None, where: str, *, secrets: bool) -> Application:
    """What the application's file says; of a stranger's code without what it would be given as secrets."""
    application = read_application(text, where)
    if secrets:
        return application
    from msgspec.structs import replace

    return replace(application, env_files=[], secrets={})


def _env(
    settings: PlatformSettings, application: Application, directory: Path
) -> tuple[dict[str, str], frozenset[str]]:
    """The variables; on ECS, secrets come by reference, so that CI needs no env file there."""
    return read_env(application, directory, may_be_missing=settings.engine == "ecs")


def _text(file: Path) -> str | None:
    """A settings file that isn't in a commit, or None where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "it is not UTF-8 text"
        raise ConfigurationError(f"{file} can't be read: {why}", remedy="mend it, or go elsewhere") from error


def _check_branch(application: Application, branch: str) -> None:
    if not branch_selected(application.branches, branch):
        raise ConfigurationError(
            f"{branch} gets no environment: [branches] in {FILE_NAME} leaves it out",
            remedy=f"include = {application.branches.include}, exclude = {application.branches.exclude}",
        )
