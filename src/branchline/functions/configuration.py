"""What the function knows of its platform: a few environment variables, and one secret that `bootstrap` writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.webhook_secret import read_secret

_KEPT = 60.0
"""Seconds after which the secret is read anew, so that one that was taken back doesn't count for long."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Read once, and again when it is old."""

    platform: str
    fork_label: str
    secrets: tuple[str, ...] = field(repr=False)
    """What forges sign with: the present secret, and the one before."""
    slack: Mapping[str, Any] = field(repr=False)
    """The operator's table [slack]; empty where there is no Slack."""
    forges: Mapping[str, Mapping[str, str]] = field(repr=False)
    """The operator's tables of the forges that there is a token for, by their names."""


@dataclass(slots=True)
class Reader:
    """Reads the configuration, and keeps it for a minute."""

    aws: Aws
    environ: Mapping[str, str]
    _read: Configuration | None = None
    _at: float = 0.0

    def read(self, at_most: float = _KEPT) -> Configuration:
        """The configuration, read anew where what is known is older than `at_most` seconds.

        Raises:
            AwsError, ConfigurationError: the secret can't be read.
        """
        if self._read is None or time.monotonic() - self._at > at_most:
            document = read_secret(self.aws, self.environ["BRANCHLINE_SECRET"])
            self._at = time.monotonic()
            self._read = Configuration(
                platform=self.environ["BRANCHLINE_PLATFORM"],
                fork_label=self.environ.get("BRANCHLINE_FORK_LABEL", ""),
                secrets=document.secrets,
                slack=document.slack,
                forges=document.forges,
            )
        return self._read
