"""Pull requests from forks: anybody can open one, with any code, under any branch's name.

Built and run unasked, that code would have the team's machines, its network and its bill. So nothing of a fork is
deployed until a maintainer has looked at it and given the pull request a label, which only members of the project can;
even then it gets no secrets, which is for whoever deploys it to see to. The label allows the one commit that it was
given on. Were it to allow the pull request as a whole, the author could push anything right after it was given. What
was pushed right before it, while the maintainer was still reading, is not told from what was read; no forge says which
commit that was.
"""

from __future__ import annotations

from branchline.naming import FORKS as PREFIX
from branchline.webhooks import PullRequest


def allowed(pull_request: PullRequest, label: str) -> bool:
    """Whether the pull request's commit may be built and run.

    Args:
        pull_request: what happened to it. Only what happens counts, not what it is: a label that it has already, when
            a commit is pushed or when it is opened again, allows nothing.
        label: the label by which maintainers allow a commit, as the operator named it. Empty: none does.
    """
    if not pull_request.fork:
        return True
    return bool(label) and pull_request.action == "labelled" and pull_request.label == label


def environment_branch(pull_request: PullRequest) -> str:
    """The branch whose environment is the pull request's.

    A fork's is called by the pull request's number: its own branch may well be called `main`, and must not get at
    the environment of the project's.
    """
    return f"{PREFIX}{pull_request.number}" if pull_request.fork else pull_request.branch
