"""What a forge is told of a deploy, whichever forge it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from branchline.environment import EnvironmentId
from branchline.events import DeployStarted, Failed, Ready
from branchline.printable import printable
from branchline.telling import About

State = Literal["running", "ready", "failed"]

_DESCRIPTION = 140
"""Characters. GitHub refuses more: https://docs.github.com/en/rest/deployments/statuses; GitLab takes 255."""
_URL = "%/:?#[]@!$&'()*+,;=~"
"""What stays as it is in a URL, in addition to letters and digits: RFC 3986, section 2."""
_LONGEST_URL = 255
"""Characters, on GitLab: https://docs.gitlab.com/api/commits/#set-commit-pipeline-status"""
_ENVIRONMENT = 255
"""Characters of an environment's name, on GitHub and on GitLab."""
_PLAIN = re.compile(r"[A-Za-z0-9_/. -]+")
"""What GitLab takes in an environment's name, and has no meaning in it."""


@dataclass(frozen=True, slots=True)
class Report:
    """How the deploy of a commit stands."""

    environment: EnvironmentId
    state: State
    commit: str
    description: str
    """In one line, short enough for all forges."""
    url: str
    """The environment's, once it is ready."""
    logs: str
    """The URL of what shows more, if it is one."""

    @property
    def target(self) -> str:
        """What its commit status leads to; '' for nothing."""
        return self.url or self.logs

    @property
    def context(self) -> str:
        """The commit status's name. It is the same for all branches, so that a rule may require it."""
        return f"branchline/{self.environment.platform}/{self.environment.project}"


def report(event: DeployStarted | Ready | Failed, about: About) -> Report:
    """What the event says of its commit."""
    if isinstance(event, DeployStarted):
        state, text, url = "running", "being deployed", ""
    elif isinstance(event, Ready):
        after = f" after {event.seconds['total']:.0f} s" if "total" in event.seconds else ""
        state, text, url = "ready", "live" if event.unchanged else f"live{after}", event.url
    else:
        state, text, url = "failed", event.reason, ""
    return Report(event.environment, state, event.commit, _shortened(text), url, web_url(about.logs))


def environment_name(environment: EnvironmentId) -> str:
    """The environment's name on the forge, with the slug in place of a branch that not every forge would take."""
    name = f"{environment.platform}/{environment.project}/{environment.branch}"
    if _PLAIN.fullmatch(name) and len(name) <= _ENVIRONMENT:
        return name
    return f"{environment.platform}/{environment.project}/{environment.slug}"


def web_url(url: str) -> str:
    """The URL with everything percent-encoded that a URL can't hold; '' where a browser or a forge won't take it."""
    if not re.match("https?://", url):
        return ""
    encoded = quote(url, safe=_URL, errors="replace")
    return encoded if len(encoded) <= _LONGEST_URL else ""


def _shortened(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= _DESCRIPTION else f"{line[: _DESCRIPTION - 1]}…"
