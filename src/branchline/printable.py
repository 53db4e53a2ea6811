"""Makes text from elsewhere safe to show.

What a container or a build printed, and what somebody named a branch, must not move a terminal's cursor, recolour or
rewrite what stands there, or reach its clipboard.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]"
)
"""Control sequences: ECMA-48, sections 5.4 and 5.6, and 7-bit ones of ECMA-35; xterm also ends strings with BEL."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Any other control character, and what turns the direction of the text around it; not tabs and line ends."""


def printable(text: str) -> str:
    """The text without control sequences, and with a � for any other character that isn't for reading.

    Lone surrogates, which stand for bytes of a branch's name that are not UTF-8, become `\\udcXX`.
    """
    plain = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _SEQUENCE.sub("", text)).expandtabs()
    return plain.encode("utf-8", "backslashreplace").decode()
