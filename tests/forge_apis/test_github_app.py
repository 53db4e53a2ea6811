"""GitHub as a GitHub App: its own signature, and tokens that are short-lived and narrow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from branchline.errors import BranchlineError, ConfigurationError, SourceError
from branchline.forges.api.github import GitHub
from branchline.forges.api.github_app import App
from tests.forge_apis.conftest import HOOK, Pair, ready
from tests.forge_stand_ins.github import GitHubStandIn

GRANTED = {
    "contents": "write",
    "metadata": "read",
    "deployments": "write",
    "pull_requests": "write",
    "statuses": "write",
    "repository_hooks": "write",
}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@pytest.fixture
def app(key: rsa.RSAPrivateKey) -> Iterator[Pair]:
    with GitHubStandIn() as there:
        there.app, there.granted = key.public_key(), dict(GRANTED)
        yield Pair(there, GitHub(there.url, app=App(there.client_id, pem(key), there.url)))
    assert there.wrong == []


def test_an_app_does_all_that_a_token_does_with_one_short_lived_token(app: Pair) -> None:
    app.there.open(7, "feature/login")
    app.hear(ready())
    assert app.forge.has_branch(app.there.repository, "main")
    assert app.forge.install_hook(app.there.repository, HOOK, "secret") == "created"
    assert len(app.there.comments(7)) == 1
    (permissions,) = app.there.tokens.values()
    assert permissions == {**GRANTED, "contents": "read"}


def test_a_token_is_renewed_before_it_ends(app: Pair) -> None:
    app.there.token_lifetime = 30
    app.forge.has_branch(app.there.repository, "main")
    app.forge.has_branch(app.there.repository, "main")
    assert len(app.there.tokens) == 2


def test_rights_that_the_installation_has_not_are_not_asked_for(app: Pair) -> None:
    app.there.granted = {"contents": "read", "metadata": "read", "pull_requests": "read"}
    assert app.forge.has_branch(app.there.repository, "main")
    assert list(app.there.tokens.values()) == [{"contents": "read", "metadata": "read"}]


def test_an_app_that_is_not_installed_says_so(app: Pair) -> None:
    with pytest.raises(SourceError, match="isn't installed on others/shop") as caught:
        app.forge.branches(f"{app.there.url}/others/shop.git")
    assert "install it" in caught.value.remedy


def test_another_key_is_refused(app: Pair) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forge = GitHub(app.there.url, app=App(app.there.client_id, pem(other), app.there.url))
    with pytest.raises(BranchlineError, match="401"):
        forge.hear(ready(), app.about)
    assert app.there.tokens == {}


@pytest.mark.parametrize(
    "text", ["", "not a key", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none_is_said_without_a_word_of_it(app: Pair, text: str) -> None:
    forge = GitHub(app.there.url, app=App(app.there.client_id, text, app.there.url))
    with pytest.raises(ConfigurationError, match="private key can't be used") as caught:
        forge.branches(app.there.repository)
    assert "AAAA" not in f"{caught.value}{caught.value.__cause__}"
    assert app.there.requests == []


def test_neither_the_key_nor_a_token_is_shown(key: rsa.RSAPrivateKey) -> None:
    app = App("Iv23liabc", pem(key))
    app._tokens["team/shop"] = "ghs_0123456789", 0.0
    assert "PRIVATE KEY" not in repr(GitHub(app=app))
    assert "ghs_" not in repr(GitHub(app=app))
