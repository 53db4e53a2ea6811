"""The secret that the webhook's function reads: what forges sign with, and the operator's settings that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from branchline.engines.ecs.aws import Aws, asking
from branchline.errors import ConfigurationError
from branchline.signing import new_secret


@dataclass(frozen=True, slots=True)
class Document:
    """What the secret holds."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What forges sign with: the present one first, then the one before."""
    slack: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """The operator's table [slack], where there is a Slack."""
    forges: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]], repr=False)
    """The operator's tables of the forges that there is a token for."""


NOTHING_TOLD = Document()
"""Neither Slack nor a forge's token."""


def read_secret(aws: Aws, secret: str) -> Document:
    """What the secret holds.

    Raises:
        AwsError: it can't be read.
        ConfigurationError: somebody else has written to it.
    """
    with asking("can't read the webhook's secret"):
        text = aws.secrets.get_secret_value(SecretId=secret).get("SecretString", "")
    try:
        raw: dict[str, Any] = json.loads(text)
        return Document(tuple(raw.get("secrets", ())), raw.get("slack", {}), raw.get("forges", {}))
    except (ValueError, TypeError, AttributeError):  # not as its cause: that would quote what is in it
        raise ConfigurationError(
            "the webhook's secret is not as Branchline writes it",
            remedy="put {} in its place, then run 'branchline aws bootstrap' and 'branchline webhook install'",
        ) from None


def write_secret(aws: Aws, secret: str, document: Document) -> None:
    """Puts the document in place of what the secret holds."""
    with asking("can't write the webhook's secret"):
        aws.secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(asdict(document)))


@dataclass(frozen=True, slots=True)
class EcsSecrets:
    """See `signing.Secrets`: they are in the secret that the function reads."""

    aws: Aws
    secret: str

    def read(self) -> tuple[str, ...]:
        """See `signing.Secrets.read`."""
        found = read_secret(self.aws, self.secret).secrets
        if not found:
            raise ConfigurationError(
                "the webhook has no secret yet", remedy="'branchline aws bootstrap' was interrupted: run it again"
            )
        return found

    def rotate(self) -> tuple[str, ...]:
        """See `signing.Secrets.rotate`."""
        document = read_secret(self.aws, self.secret)
        rotated = replace(document, secrets=(new_secret(), *document.secrets[:1]))
        write_secret(self.aws, self.secret, rotated)
        return rotated.secrets
