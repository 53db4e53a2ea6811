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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Any other control character, and what turns the direction of the text around it; not tabs and line ends."""


def printable(text: str) -> str:
    r"""The text without control sequences, and with a replacement character for whatever else isn't for reading.

    Bytes of a branch's name that are not UTF-8 become `\xff`, as `labels.branch_value` has them.
    """
    escaped = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte.group()) - 0xDC00:02x}", text)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _SEQUENCE.sub("", escaped)).expandtabs()
