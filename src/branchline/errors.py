"""What can go wrong, in the user's words.

Every error that reaches a person is one of these. It says what happened and where (`message`), what to do
(`remedy`), and which exit code a command ends with: 1 where the deploy or action failed, 2 where the usage or the
configuration is wrong. The front doors turn it into text in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class BranchlineError(Exception):
    """Anything that Branchline reports to its user.

    `details` are further lines worth showing below the message, such as the last lines that a container printed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = tuple(details)


class ConfigurationError(BranchlineError):
    """The command line, a settings file or the repository asks for something that can't be done."""

    exit_code = 2


class NotFoundError(ConfigurationError):
    """A branch, commit, repository or environment that was named doesn't exist."""


class SourceError(BranchlineError):
    """The repository or its remote could not be read."""


class EngineError(BranchlineError):
    """The engine can't be reached, or refused."""


class BuildError(BranchlineError):
    """The image could not be built or pulled."""


class ReleaseError(BranchlineError):
    """The release was started but never became healthy."""


class RouterError(BranchlineError):
    """The router can't be started or reached."""


class TimedOutError(BranchlineError):
    """The time that the user allowed ran out."""


class SupersededError(BranchlineError):
    """A newer change of the same branch took over. Not a failure: the branch's URL serves the newer commit."""

    exit_code = 0


class DeletedError(BranchlineError):
    """The branch was deleted, or its environment destroyed, while its deploy was running."""
