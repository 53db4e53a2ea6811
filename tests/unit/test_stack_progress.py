"""What is told of CloudFormation's work on the platform's base."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from branchline.cli.stack_progress import stack_progress
from branchline.engines.ecs.stacks import KIND, Progress

BEGUN = datetime(2026, 1, 2, tzinfo=UTC)


def event(resource: str, status: str, after: float = 0, kind: str = "AWS::ECS::Cluster", reason: str = "") -> Progress:
    """Of the stack `branchline-shop`, so many seconds after its begin."""
    return Progress("branchline-shop", resource, kind, status, reason, BEGUN + timedelta(seconds=after))


def test_each_resource_is_a_line_once_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with stack_progress() as report:
        report(event("branchline-shop", "CREATE_IN_PROGRESS", kind=KIND))
        report(event("Cluster", "CREATE_IN_PROGRESS"))
        report(event("Cluster", "CREATE_COMPLETE", 4.2))
        report(event("branchline-shop", "CREATE_COMPLETE", 5, KIND))

    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["  ✓ Cluster made in 4.2s  (AWS::ECS::Cluster)"]
    assert captured.out == ""


def test_a_failure_says_why_and_that_the_rest_is_undone(capsys: pytest.CaptureFixture[str]) -> None:
    with stack_progress() as report:
        report(event("Cluster", "CREATE_IN_PROGRESS"))
        report(event("Cluster", "CREATE_FAILED", 1, reason="it has\x1b[2J a name"))
        report(event("branchline-shop", "ROLLBACK_IN_PROGRESS", 1, KIND, "the following failed: [Cluster]"))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("  ✗ Cluster failed in 1.0s  (AWS::ECS::Cluster): it has")
    assert "\x1b" not in lines[0]
    assert lines[1] == "branchline-shop: undoing what was done: the following failed: [Cluster]"


def test_who_interrupts_hears_what_aws_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), stack_progress() as report:
        report(event("branchline-shop", "CREATE_IN_PROGRESS", kind=KIND))
        report(event("Cluster", "CREATE_IN_PROGRESS"))
        report(event("Cluster", "CREATE_COMPLETE", 4.2))
        report(event("LoadBalancer", "CREATE_IN_PROGRESS", 5))
        report(event("Certificate", "CREATE_IN_PROGRESS", 5))
        raise KeyboardInterrupt

    assert capsys.readouterr().err.endswith("\nbranchline-shop: 1 resources done, at LoadBalancer, Certificate\n")


def test_between_two_stacks_there_is_nothing_to_hear(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), stack_progress() as report:
        report(event("branchline-shop", "CREATE_COMPLETE", kind=KIND))
        raise KeyboardInterrupt

    assert capsys.readouterr().err == ""
