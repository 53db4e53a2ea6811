"""Why a delivery is refused, each with its HTTP status. What it says goes to whoever sent the delivery."""

from __future__ import annotations

from typing import ClassVar

from branchline.errors import BranchlineError


class RefusedError(BranchlineError):
    """A delivery isn't read. `status` is the answer's (RFC 9110, section 15.5)."""

    status: ClassVar[int] = 400


class MalformedError(RefusedError):
    """It is not what the forge sends."""


class UnauthorisedError(RefusedError):
    """Its signature is missing, malformed or wrong. It doesn't say which: that would help only who guesses."""

    status = 401

    def __init__(self) -> None:
        super().__init__("unauthorised")


class UnknownForgeError(RefusedError):
    """There is no such forge."""

    status = 404

    def __init__(self) -> None:
        super().__init__("no such forge")


class TooLargeError(RefusedError):
    """The body is larger than any that is read."""

    status = 413


class UnsupportedMediaTypeError(RefusedError):
    """The body is neither JSON nor a form."""

    status = 415
