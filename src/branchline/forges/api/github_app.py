"""Tokens of a GitHub App: short-lived, for one repository, and with no more rights than are needed.

It needs PyJWT and cryptography (`pip install 'branchline[github-app]'`), so it doesn't run in the Lambda.
https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from branchline.errors import ConfigurationError
from branchline.forges.api.forge import escaped, number_of
from branchline.forges.api.github import HEADERS, api_base
from branchline.forges.api.rest import Api
from branchline.web import WebError

_SKEW = 60
"""Seconds that our clock may be ahead of GitHub's."""
_VALID = 540
"""Seconds. GitHub takes tokens of the app itself for ten minutes at most, our clock's error included."""
_WANTED = {
    "contents": "read",
    "deployments": "write",
    "metadata": "read",
    "pull_requests": "write",
    "repository_hooks": "write",
    "statuses": "write",
}


@dataclass(frozen=True)
class App:
    """A GitHub App, installed where the repositories are."""

    client_id: str
    key: str = field(repr=False)
    """Its private key, as GitHub gives it: PEM."""
    url: str = "https://github.com"
    _tokens: dict[str, tuple[str, float]] = field(
        default_factory=dict[str, tuple[str, float]], repr=False, compare=False
    )
    """By repository, with the time until which each is used."""

    def token(self, path: str) -> str:
        """A token for the repository at this path, the same one until shortly before its end.

        Raises:
            ConfigurationError: the private key is none, or PyJWT isn't installed.
            WebError: the app isn't installed there, or GitHub refuses.
        """
        token, until = self._tokens.get(path, ("", 0.0))
        if time.time() >= until:
            token, until = self._tokens[path] = self._new_token(path)
        return token

    def _new_token(self, path: str) -> tuple[str, float]:
        """Only what the installation was granted can be asked for: more is refused as a whole."""
        api = Api(api_base(self.url), HEADERS | {"authorization": f"Bearer {self._jwt()}"})
        try:
            installation = api.get(f"/repos/{escaped(path)}/installation")
        except WebError as error:
            if error.status != 404:
                raise
            raise WebError(
                f"the GitHub App isn't installed on {path}",
                status=404,
                remedy="install it there, in the app's settings on GitHub",
            ) from error
        granted = cast("dict[str, Any]", installation.get("permissions") or {})
        permissions = {name: level for name, level in _WANTED.items() if granted.get(name) in (level, "write")}
        answer = api.ask(
            "POST",
            f"/app/installations/{number_of(installation.get('id'), 'id of an installation')}/access_tokens",
            {"repositories": [path.rpartition("/")[2]], "permissions": permissions},
        )
        given = api.object(answer)
        until = 0.0
        with suppress(TypeError, ValueError):
            until = datetime.fromisoformat(given.get("expires_at", "")).timestamp() - _SKEW
        return str(given.get("token")), until

    def _jwt(self) -> str:
        """What says that we are the app. https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app"""
        try:
            import jwt
        except ImportError as error:
            raise ConfigurationError(
                "a GitHub App needs PyJWT and cryptography, which aren't installed",
                remedy="pip install 'branchline[github-app]'",
            ) from error
        now = int(time.time())
        try:
            claims = {"iat": now - _SKEW, "exp": now + _VALID, "iss": self.client_id}
            return jwt.encode(claims, self.key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            kind = type(error).__name__  # not its words, which may tell of the key
            raise ConfigurationError(
                f"the GitHub App's private key can't be used: {kind}", remedy="it has to be the PEM file from GitHub"
            ) from None
