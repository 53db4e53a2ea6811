"""What the one comment on a pull request says, and the marker by which it is found again.

Nothing that somebody else wrote is shown but as code: what a container printed, or a reason, may hold mentions, HTML,
or a forge's commands. It is indented code and not a fenced block, since no line that is indented can end it, however
many backticks it has. A fence isn't safe everywhere: for its quick actions, GitLab takes any line of three backticks
for a fence's end, and what a log prints after it, such as `/close`, for our command.
https://spec.commonmark.org/0.31.2/#indented-code-blocks
https://docs.gitlab.com/user/project/quick_actions/
"""

from __future__ import annotations

import itertools
import re

from branchline import naming
from branchline.environment import EnvironmentId
from branchline.events import Failed, Ready, Removed
from branchline.forges.api.report import web_url
from branchline.printable import printable
from branchline.telling import About

_LONGEST = 10_000
_MOST_LINES = 200
"""Of what a container printed; the last ones. GitHub takes 65,536 characters, Bitbucket 32,768."""


def markers(environment: EnvironmentId, form: str) -> tuple[str, ...]:
    """What our comment may begin with: first as we begin it, then as the GitHub Action may have.

    The action (`deploy/github/comment.py`) names the platform, the project and the directory as its inputs do, and
    these are often empty. So we edit its comment too, in place of writing a second one.

    Args:
        form: how the forge hides text, with `{}` for the digest.
    """
    platforms, projects = (environment.platform, ""), (environment.project, "")
    subjects = (f"{platform}/{project}/." for platform, project in itertools.product(platforms, projects))
    return tuple(form.format(naming.digest(subject, 16)) for subject in subjects)


def ready(event: Ready, about: About) -> str:
    """Where the commit is served, and how long that took."""
    rows = [
        ("URL", _link(event.url)),
        ("Commit", _commit(event.commit)),
        ("Release", str(event.release)),
        ("Time", "none: it served this already" if event.unchanged else _times(event.seconds)),
        ("Log", _link(about.logs)),
    ]
    head, *others = (f"| {name} | {value} |" for name, value in rows if value)
    return "\n".join([head, "| --- | --- |", *others])


def failed(event: Failed, about: About) -> str:
    """Why the deploy failed, with the last lines that were printed."""
    text = printable("\n".join([event.reason, "", *event.details]).strip())
    log = _link(about.logs)
    return "\n\n".join(
        filter(
            None,
            [
                f"The deploy of {_commit(event.commit)} failed. What served before, if anything did, goes on serving.",
                _block(text),
                log and f"Log: {log}",
            ],
        )
    )


def removed(event: Removed) -> str:
    """That the environment is gone, and what for."""
    why = _code(event.why)
    return f"The branch's environment is removed{why and f': {why}'}."


def _times(seconds: dict[str, float]) -> str:
    """Such as `build 31.0 s, start 2.1 s; 43.0 s in all`. The phases' names are ours."""
    phases = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if name != "total")
    total = f"{seconds['total']:.1f} s in all" if "total" in seconds else ""
    return "; ".join(filter(None, [phases, total]))


def _link(url: str) -> str:
    encoded = web_url(url)
    return f"<{encoded}>" if encoded else ""


def _commit(commit: str) -> str:
    """As it is, which forges make a link; as code, where it is a name that somebody gave an image's origin."""
    return commit if re.fullmatch("[0-9a-f]{7,64}", commit) else _code(commit)


def _code(text: str) -> str:
    """One line of somebody else's text, as code that it can't leave, also within a table."""
    line = " ".join(printable(text).replace("`", "'").replace("|", "/").split())
    return f"`{line}`" if line else ""


def _block(text: str) -> str:
    """The end of somebody else's text, as indented code."""
    lines = text[-_LONGEST:].split("\n")[-_MOST_LINES:]
    return "\n".join(f"    {line}".rstrip() for line in lines)
