"""Which forge a repository is on."""

from __future__ import annotations

from pathlib import Path

import pytest

from branchline.errors import ConfigurationError
from branchline.forges.api import forge_of
from branchline.forges.api.github import api_base
from branchline.forges.api.location import path_on

CONFIGURED = {
    "github": {"url": "https://github.com", "token": "secret-1", "app": "", "app_key": ""},
    "gitlab": {"url": "https://gitlab.example.com/code", "token": "secret-2"},
    "bitbucket": {"api": "https://api.bitbucket.org/2.0", "token": "secret-3"},
    "gitea": {"url": "http://git.example.com:3000/", "token": "secret-4"},
}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/team/shop.git", "github"),
        ("https://github.com/team/shop", "github"),
        ("https://github.com:443/team/shop/", "github"),
        ("https://user:pass@github.com/team/shop.git", "github"),
        ("git@github.com:team/shop.git", "github"),
        ("ssh://git@github.com/team/shop.git", "github"),
        ("ssh://git@ssh.github.com:443/team/shop.git", "github"),
        ("https://GitHub.com/team/shop.git", "github"),
        ("https://gitlab.example.com/code/team/web/shop.git", "gitlab"),
        ("git@gitlab.example.com:team/web/shop.git", "gitlab"),
        ("ssh://git@altssh.bitbucket.org:443/team/shop.git", "bitbucket"),
        ("git@bitbucket.org:team/shop.git", "bitbucket"),
        ("http://git.example.com:3000/team/shop.git", "gitea"),
        ("ssh://git@git.example.com:2222/team/shop.git", "gitea"),
    ],
)
def test_a_repository_belongs_to_the_forge_of_its_host(url: str, name: str) -> None:
    found = forge_of(url, CONFIGURED)
    assert found is not None
    assert found.name == name
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/shop.git",
        "file:///srv/git/shop.git",
        "../shop",
        "https://github.com",
        "https://github.com/team",
        "https://github.com.evil.example/team/shop",
        "https://evil.example/github.com/team/shop",
        "https://github.com@evil.example/team/shop",
        "https://github.com:8443/team/shop",
        "https://github.com:x/team/shop",
        "http://git.example.com/team/shop.git",
        "work:team/shop.git",
    ],
)
def test_a_repository_elsewhere_has_no_forge(url: str) -> None:
    assert forge_of(url, CONFIGURED) is None


def test_a_forge_without_a_token_is_not_configured() -> None:
    without = {name: {**values, "token": ""} for name, values in CONFIGURED.items()}
    assert forge_of("https://github.com/team/shop.git", without) is None
    assert forge_of("https://github.com/team/shop.git", {"gitea": {"url": "", "token": "x"}, "other": {}}) is None


def test_paths_are_the_forges_own() -> None:
    assert (
        path_on("https://gitlab.example.com/code/team/web/shop.git", "https://gitlab.example.com/code")
        == "team/web/shop"
    )
    assert path_on("git@gitlab.example.com:team/web/shop.git", "https://gitlab.example.com/code/") == "team/web/shop"


def test_githubs_api_is_where_its_documentation_has_it() -> None:
    assert api_base("https://github.com") == "https://api.github.com"
    assert api_base("https://team.ghe.com") == "https://api.team.ghe.com"
    assert api_base("https://github.example.com/") == "https://github.example.com/api/v3"


def test_an_apps_key_that_can_not_be_read_is_said_at_once(tmp_path: Path) -> None:
    configured = {"github": {"app": "Iv23liabc", "app_key": str(tmp_path / "app.pem")}}
    with pytest.raises(ConfigurationError, match=r"app\.pem: No such file"):
        forge_of("https://github.com/team/shop", configured)
    (tmp_path / "app.pem").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no PEM file"):
        forge_of("https://github.com/team/shop", configured)
