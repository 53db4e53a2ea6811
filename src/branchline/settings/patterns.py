"""What the texts in the settings may look like: regular expressions that Python and JSON Schema read alike."""

from __future__ import annotations


def _whole(pattern: str) -> str:
    """The pattern for all of a text. Python's `$` alone would let a last line break pass."""
    return rf"^(?:{pattern})$(?!\n)"


_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"

DNS_LABEL = _whole("[a-z0-9]+(?:-[a-z0-9]+)*")
"""As `naming.check_name` has it, without its length."""

DOMAIN = _whole(rf"(?!(?:.*\.)?[0-9]+$){_LABEL}(?:\.{_LABEL})*")
"""A DNS name in lower case. A last label of digits only would make it an IP address (WHATWG URL standard, 3.5)."""

DOMAIN_LENGTH = 253 - 63 - 1
"""A DNS name has at most 253 characters (RFC 1035, 2.3.4); an environment's host adds a label and a dot."""

MEMORY = _whole(
    "(?:614[4-9]|61[5-9][0-9]|6[2-9][0-9]{2}|[7-9][0-9]{3}|[1-9][0-9]{4,8})[kK]"
    "|(?:[6-9]|[1-9][0-9]{1,8})[mM]"
    "|[1-9][0-9]{0,8}[gG]"
)
"""From 6 MiB, which is the least that Docker accepts, up to nine digits, so that the bytes fit in 64 bits."""

VARIABLE = _whole("[A-Za-z_][A-Za-z0-9_]*")
"""The name of an environment variable (POSIX), or of a build argument."""

WITHOUT_NUL = _whole(r"[^\x00]*")
"""The system takes no NUL character in an environment variable or an argument."""

INSIDE = _whole(r"(?!/)(?!(?:[^\x00]*/)?\.\.(?:/|$))[^\x00]+")
"""A relative path that never goes up."""

URL_PATH = _whole("/[!-~]*")
"""A path as a request line has it: printable ASCII, the rest percent-encoded."""

ABSOLUTE_OR_EMPTY = _whole(r"(?:/[^\x00]*)?")

URL_OR_EMPTY = _whole("(?:https?://[!-~]+)?")

NOT_BLANK = _whole(r"[^\x00]+")

SECRET_REFERENCE = _whole(
    "ssm:/?[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*"
    "|secretsmanager:[A-Za-z0-9/_+=.@-]+(?::[A-Za-z0-9/_+=.@-]+)?"
    "|arn:aws[a-z-]*:(?:ssm|secretsmanager):[^\\s\\x00]+"
)
"""Where a secret is kept, by the names that SSM's parameters and Secrets Manager's secrets may have."""
