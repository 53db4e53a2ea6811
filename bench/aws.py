"""Deploys to Amazon ECS, as MiniStack has it on this machine, against other ways to the same; and how many calls."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench import aws_scale
from bench.aws_rivals import AGAIN, BARE, ECS_DEPLOY, FIRST, OURS, SHELL, Race, Rival
from bench.aws_sandbox import aws_sandbox
from bench.measuring import ratios, rounds, shown, table, target

_TITLES = {FIRST: "a first deploy", AGAIN: "a redeploy"}


def measure() -> None:
    """First how long deploys take, then how many calls."""
    with aws_sandbox() as here:
        race = Race(here)
        race.warm_up()
        for number in rounds(8, 180):
            race.round(number + 1)
    rivals = {rival.name: rival for rival in race.rivals}
    for what in (FIRST, AGAIN):
        _tell(what, rivals)
    aws_scale.measure()


def _tell(what: str, rivals: dict[str, Rival]) -> None:
    """Besides the whole time, that without what the emulator's ECS itself takes, which is the same for all of them: the
    boto3 script says how long that was."""
    runs = {name: rival.runs[what] for name, rival in rivals.items() if rival.runs[what]}
    waited = [float(done.out) for done in runs[BARE]]
    whole = {name: [done.seconds for done in each] for name, each in runs.items()}
    own = {name: [all_ - ecs for all_, ecs in zip(each, waited, strict=True)] for name, each in whole.items()}
    print(f"  {_TITLES[what]}, {len(waited)} rounds; of it ECS itself: {shown(waited)} s")
    table(
        ("seconds", "whole", "without ECS itself", "processor", "ours is, times", "without ECS itself"),
        [
            (
                name,
                shown(whole[name]),
                shown(own[name]),
                shown([done.processor for done in each]),
                "-" if name == OURS else shown(ratios(whole[OURS], whole[name])),
                "-" if name == OURS else shown(ratios(own[OURS], own[name])),
            )
            for name, each in runs.items()
        ],
    )
    target("times the boto3 script", _middle(whole[OURS], whole[BARE]), at_most=1.15)
    target("times faster than the aws commands", _middle(whole[SHELL], whole[OURS]), at_least=3)
    target("the same, without ECS itself", _middle(own[SHELL], own[OURS]), at_least=3)
    if ECS_DEPLOY in runs:
        target("times faster than ecs-deploy", _middle(whole[ECS_DEPLOY], whole[OURS]), at_least=1)
    print()


def _middle(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(ratios(ours, theirs))
