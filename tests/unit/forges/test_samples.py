"""Every delivery that the forges document, and what it says."""

from __future__ import annotations

import pytest

from branchline.forges import forks, reader
from branchline.webhooks import (
    Action,
    BranchDeleted,
    BranchPushed,
    Delivery,
    Ignored,
    Message,
    Ping,
    PullRequest,
)
from tests import forge_payloads

SECRET = "correct horse"
COMMIT = "c0ffee5d2b1a49788c6f3e0d9b7a5c1e8f2d4b60"
FORKED = "f04ced0a7b1c2d3e4f5061728394a5b6c7d8e9f0"
BRANCH = "feature/login"
GITHUB = ("https://github.com/acme/shop.git", "git@github.com:acme/shop.git")
GITLAB = ("https://gitlab.example.com/acme/web/shop.git", "git@gitlab.example.com:acme/web/shop.git")
BITBUCKET = ("https://bitbucket.org/acme/shop",)
GITEA = ("https://gitea.example.com/acme/shop.git", "ssh://git@gitea.example.com:2222/acme/shop.git")
REPOSITORIES = {"github": GITHUB, "gitlab": GITLAB, "bitbucket": BITBUCKET, "gitea": GITEA}


def own(forge: str, action: Action, label: str = "", commit: str = COMMIT) -> PullRequest:
    return PullRequest(REPOSITORIES[forge], 7, action, BRANCH, commit, fork=False, label=label)


def fork(forge: str, action: Action, label: str = "", commit: str = FORKED, branch: str = "main") -> PullRequest:
    return PullRequest(REPOSITORIES[forge], 7, action, branch, commit, fork=True, label=label)


def nothing(what: str) -> Ignored:
    return Ignored(f"nothing is done about '{what}'")


NO_BRANCH = Ignored("it is not about a branch")
MERGE_REQUEST = "Merge Request Hook"

SAYS: dict[tuple[str, str], tuple[str, list[Message]]] = {
    ("github", "ping"): ("ping", [Ping()]),
    ("github", "push"): ("push", [BranchPushed(GITHUB, BRANCH, COMMIT)]),
    ("github", "push_of_new_branch"): ("push", [BranchPushed(GITHUB, BRANCH, COMMIT)]),
    ("github", "push_deleting_branch"): ("push", [BranchDeleted(GITHUB, BRANCH)]),
    ("github", "push_of_tag"): ("push", [NO_BRANCH]),
    ("github", "push_deleting_tag"): ("push", [NO_BRANCH]),
    ("github", "create_branch"): ("create", [nothing("create")]),
    ("github", "create_tag"): ("create", [nothing("create")]),
    ("github", "delete_branch"): ("delete", [BranchDeleted(GITHUB, BRANCH)]),
    ("github", "delete_tag"): ("delete", [NO_BRANCH]),
    ("github", "pull_request_opened"): ("pull_request", [own("github", "opened")]),
    ("github", "pull_request_synchronize"): ("pull_request", [own("github", "synchronised")]),
    ("github", "pull_request_reopened"): ("pull_request", [own("github", "reopened")]),
    ("github", "pull_request_merged"): ("pull_request", [own("github", "closed")]),
    ("github", "pull_request_labeled"): ("pull_request", [own("github", "labelled", "preview")]),
    ("github", "pull_request_unlabeled"): ("pull_request", [nothing("unlabeled")]),
    ("github", "fork_opened"): ("pull_request", [fork("github", "opened")]),
    ("github", "fork_synchronize"): ("pull_request", [fork("github", "synchronised")]),
    ("github", "fork_labeled"): ("pull_request", [fork("github", "labelled", "preview")]),
    ("github", "fork_closed_after_its_deletion"): ("pull_request", [fork("github", "closed")]),
    ("github", "issues_opened"): ("issues", [nothing("issues")]),
    ("gitlab", "push"): ("Push Hook", [BranchPushed(GITLAB, BRANCH, COMMIT)]),
    ("gitlab", "push_of_new_branch"): ("Push Hook", [BranchPushed(GITLAB, BRANCH, COMMIT)]),
    ("gitlab", "push_deleting_branch"): ("Push Hook", [BranchDeleted(GITLAB, BRANCH)]),
    ("gitlab", "push_deleting_branch_in_sha256"): ("Push Hook", [BranchDeleted(GITLAB, BRANCH)]),
    ("gitlab", "tag_push"): ("Tag Push Hook", [nothing("Tag Push Hook")]),
    ("gitlab", "tag_push_deleting"): ("Tag Push Hook", [nothing("Tag Push Hook")]),
    ("gitlab", "system_hook_push"): ("System Hook", [nothing("System Hook")]),
    ("gitlab", "merge_request_open"): (MERGE_REQUEST, [own("gitlab", "opened")]),
    ("gitlab", "merge_request_with_new_commits"): (MERGE_REQUEST, [own("gitlab", "synchronised")]),
    ("gitlab", "merge_request_with_new_title"): (MERGE_REQUEST, [nothing("update")]),
    ("gitlab", "merge_request_labelled"): (MERGE_REQUEST, [own("gitlab", "labelled", "preview")]),
    ("gitlab", "merge_request_labelled_twice"): (
        MERGE_REQUEST,
        [own("gitlab", "labelled", "tea"), own("gitlab", "labelled", "preview")],
    ),
    ("gitlab", "merge_request_unlabelled"): (MERGE_REQUEST, [nothing("update")]),
    ("gitlab", "merge_request_approved"): (MERGE_REQUEST, [nothing("approved")]),
    ("gitlab", "merge_request_close"): (MERGE_REQUEST, [own("gitlab", "closed")]),
    ("gitlab", "merge_request_reopen"): (MERGE_REQUEST, [own("gitlab", "reopened")]),
    ("gitlab", "merge_request_merge"): (MERGE_REQUEST, [own("gitlab", "closed")]),
    ("gitlab", "fork_open"): (MERGE_REQUEST, [fork("gitlab", "opened")]),
    ("gitlab", "fork_labelled"): (MERGE_REQUEST, [fork("gitlab", "labelled", "preview")]),
    ("gitlab", "fork_with_new_commits_and_its_label_told_as_new"): (MERGE_REQUEST, [fork("gitlab", "synchronised")]),
    ("gitlab", "fork_closed_after_its_deletion"): (MERGE_REQUEST, [fork("gitlab", "closed", commit="")]),
    ("gitlab", "note"): ("Note Hook", [nothing("Note Hook")]),
    ("gitlab", "ping"): ("Branchline Ping", [Ping()]),
    ("bitbucket", "ping"): ("diagnostics:ping", [Ping()]),
    ("bitbucket", "push"): ("repo:push", [BranchPushed(BITBUCKET, BRANCH, COMMIT)]),
    ("bitbucket", "push_of_new_branch"): ("repo:push", [BranchPushed(BITBUCKET, BRANCH, COMMIT)]),
    ("bitbucket", "push_deleting_branch"): ("repo:push", [BranchDeleted(BITBUCKET, BRANCH)]),
    ("bitbucket", "push_of_tag"): ("repo:push", [NO_BRANCH]),
    ("bitbucket", "push_deleting_tag"): ("repo:push", [NO_BRANCH]),
    ("bitbucket", "push_of_several"): (
        "repo:push",
        [BranchPushed(BITBUCKET, BRANCH, COMMIT), BranchDeleted(BITBUCKET, "fix/tea"), NO_BRANCH],
    ),
    ("bitbucket", "pullrequest_created"): ("pullrequest:created", [own("bitbucket", "opened", commit=COMMIT[:12])]),
    ("bitbucket", "pullrequest_updated"): (
        "pullrequest:updated",
        [own("bitbucket", "synchronised", commit=COMMIT[:12])],
    ),
    ("bitbucket", "pullrequest_fulfilled"): ("pullrequest:fulfilled", [own("bitbucket", "closed", commit=COMMIT[:12])]),
    ("bitbucket", "pullrequest_rejected"): ("pullrequest:rejected", [own("bitbucket", "closed", commit=COMMIT[:12])]),
    ("bitbucket", "fork_created"): ("pullrequest:created", [fork("bitbucket", "opened", commit=FORKED[:12])]),
    ("bitbucket", "fork_rejected_after_its_deletion"): (
        "pullrequest:rejected",
        [fork("bitbucket", "closed", commit="")],
    ),
    ("bitbucket", "pullrequest_approved"): ("pullrequest:approved", [nothing("pullrequest:approved")]),
    ("gitea", "push"): ("push", [BranchPushed(GITEA, BRANCH, COMMIT)]),
    ("gitea", "push_of_new_branch"): ("push", [BranchPushed(GITEA, BRANCH, COMMIT)]),
    ("gitea", "push_deleting_branch"): ("push", [BranchDeleted(GITEA, BRANCH)]),
    ("gitea", "push_of_tag"): ("push", [NO_BRANCH]),
    ("gitea", "create_branch"): ("create", [nothing("create")]),
    ("gitea", "delete_branch"): ("delete", [BranchDeleted(GITEA, BRANCH)]),
    ("gitea", "delete_branch_by_its_full_ref"): ("delete", [BranchDeleted(GITEA, BRANCH)]),
    ("gitea", "delete_tag"): ("delete", [NO_BRANCH]),
    ("gitea", "pull_request_opened"): ("pull_request", [own("gitea", "opened")]),
    ("gitea", "pull_request_synchronized"): ("pull_request", [own("gitea", "synchronised")]),
    ("gitea", "pull_request_reopened"): ("pull_request", [own("gitea", "reopened")]),
    ("gitea", "pull_request_merged"): ("pull_request", [own("gitea", "closed")]),
    ("gitea", "pull_request_label_updated"): ("pull_request", [Ignored("it doesn't say which label was given")]),
    ("gitea", "pull_request_label_cleared"): ("pull_request", [nothing("label_cleared")]),
    ("gitea", "fork_opened"): ("pull_request", [fork("gitea", "opened")]),
    ("gitea", "fork_label_updated"): ("pull_request", [Ignored("it doesn't say which label was given")]),
    ("gitea", "fork_label_updated_in_forgejo"): ("pull_request", [fork("gitea", "labelled", "preview")]),
    ("gitea", "fork_closed_after_its_deletion"): (
        "pull_request",
        [fork("gitea", "closed", commit="", branch="refs/pull/7/head")],
    ),
    ("gitea", "agit_opened"): ("pull_request", [fork("gitea", "opened", branch="refs/pull/7/head")]),
    ("gitea", "issue_comment"): ("issue_comment", [nothing("issue_comment")]),
    ("gitea", "ping"): ("ping", [Ping()]),
}


@pytest.mark.parametrize(("forge", "name"), SAYS, ids="-".join)
def test_a_delivery_says_what_happened(forge: str, name: str) -> None:
    event, messages = SAYS[forge, name]
    headers, body = forge_payloads.signed(forge, event, forge_payloads.sample(forge, name), SECRET)

    received = reader.receive(forge, Delivery(headers, body), ["another", SECRET])

    assert list(received.messages) == messages
    assert received.delivery_id in headers.values()
    assert len(received.delivery_id) == 36


def test_every_sample_is_read() -> None:
    files = {(file.parent.name, file.stem) for file in forge_payloads.SAMPLES.glob("*/*.json")}
    assert files == set(SAYS)
    assert set(reader.FORGES) == set(forge_payloads.PINGS)


OF_FORKS = [said for _, messages in SAYS.values() for said in messages if isinstance(said, PullRequest) and said.fork]


@pytest.mark.parametrize("message", OF_FORKS)
def test_of_a_fork_only_the_commit_that_the_label_was_given_on_is_allowed(message: PullRequest) -> None:
    assert forks.allowed(message, "preview") == (message.action == "labelled")
    assert not forks.allowed(message, "")
    assert not forks.allowed(message, "Preview")
    assert forks.environment_branch(message) == "pull/7"


def test_a_label_without_a_name_allows_nothing() -> None:
    assert not forks.allowed(fork("github", "labelled", label=""), "")


def test_a_pull_request_of_the_repository_itself_has_its_branchs_environment() -> None:
    assert forks.allowed(own("github", "opened"), "preview")
    assert forks.environment_branch(own("github", "opened")) == BRANCH


@pytest.mark.parametrize("forge", reader.FORGES)
def test_what_tests_make_up_is_read_too(forge: str) -> None:
    url = "https://forge.example/acme/shop.git"
    for event, payload, message in [
        (*forge_payloads.branch_deleted(forge, "grün/#1", url), BranchDeleted((url,), "grün/#1")),
        (*forge_payloads.branch_pushed(forge, "grün/#1", FORKED, url), BranchPushed((url,), "grün/#1", FORKED)),
        (forge_payloads.PINGS[forge], {}, Ping()),
    ]:
        headers, body = forge_payloads.signed(forge, event, payload, SECRET)
        assert reader.receive(forge, Delivery(headers, body), [SECRET]).messages == (message,)
