"""The application that the tests deploy: BusyBox's web server, which ends at once when it is told to."""

from __future__ import annotations

_SERVE = "trap 'exit 0' TERM; httpd -f -p 8000 -h /www & wait"


def app(base: str, text: str, command: str = _SERVE) -> dict[str, str]:
    """The files of a repository whose release answers `text`, or does what `command` says."""
    dockerfile = f'FROM {base}\nCOPY index.html /www/\nCOPY start /start\nEXPOSE 8000\nCMD ["sh", "/start"]\n'
    return {"Dockerfile": dockerfile, "index.html": text, "start": f"echo 'this is {text}'\n{command}\n"}
