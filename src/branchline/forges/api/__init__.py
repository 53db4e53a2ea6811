"""The forges' APIs: what branches there are, webhooks, and telling of deploys.

All of it but `github_app` runs in the Lambda too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from branchline.errors import ConfigurationError
from branchline.forges.api.bitbucket import Bitbucket
from branchline.forges.api.forge import RestForge
from branchline.forges.api.gitea import Gitea
from branchline.forges.api.github import GitHub
from branchline.forges.api.gitlab import GitLab
from branchline.forges.api.location import path_on
from branchline.telling import Forge

if TYPE_CHECKING:
    from branchline.forges.api.github_app import App


def forge_of(repository_url: str, configured: Mapping[str, Mapping[str, str]]) -> Forge | None:
    """The forge that the repository is on, or None where none is configured for it.

    Args:
        repository_url: a clone URL, with https or ssh, or as scp has it.
        configured: by the forges' names, the keys of the settings: `url` (Bitbucket: `api`), `token`, and for GitHub
            `app` and `app_key`. What is missing or empty isn't configured.

    Raises:
        ConfigurationError: the GitHub App's private key can't be read.
    """
    for name, values in configured.items():
        forge = _forge(name, {key: value for key, value in values.items() if value})
        if forge is not None and path_on(repository_url, forge.home):
            return forge
    return None


def _forge(name: str, values: Mapping[str, str]) -> RestForge | None:
    token = values.get("token", "")
    match name:
        case "github" if token or ("app" in values and "app_key" in values):
            url = values.get("url", GitHub.url)
            return GitHub(url, token, None if token else _app(values["app"], values["app_key"], url))
        case "gitlab" if token:
            return GitLab(values.get("url", GitLab.url), token)
        case "bitbucket" if token:
            return Bitbucket(values.get("api", Bitbucket.api_url), token)
        case "gitea" if token and "url" in values:
            return Gitea(values["url"], token)
        case _:
            return None


def _app(client_id: str, key_file: str, url: str) -> App:
    from branchline.forges.api.github_app import App

    try:
        key = Path(key_file).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no PEM file"
        raise ConfigurationError(
            f"can't read the GitHub App's private key in {key_file}: {reason}",
            remedy="github.app_key has to be the PEM file from GitHub",
        ) from error
    return App(client_id, key, url)
