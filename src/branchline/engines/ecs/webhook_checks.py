"""What `doctor` says of what removes deleted branches: is it there, up to date, and has it given anything up?"""

from __future__ import annotations

from branchline.checks import Check
from branchline.engines.ecs import webhook
from branchline.engines.ecs.aws import Aws, asking
from branchline.engines.ecs.webhook_secret import read_secret

_NAME = "webhook"


def check(aws: Aws, platform: str) -> list[Check]:
    """Whether deleted branches are removed by webhook, and how that goes."""
    made = webhook.find(aws, platform)
    if made is None:
        finding = "forges aren't listened to: deleted branches are removed by CI, or by 'branchline reap'"
        return [Check(_NAME, "ok", finding, "to have it: branchline aws bootstrap --webhook")]
    return [_code(aws, made.function), _queue(aws, made.queue), _forges(aws, made.secret)]


def _code(aws: Aws, function: str) -> Check:
    if webhook.has_our_code(aws, function):
        return Check(_NAME, "ok", f"the function {function} has this Branchline's code")
    return Check(
        _NAME, "warning", f"the function {function} has another version's code", "run 'branchline aws bootstrap' again"
    )


def _queue(aws: Aws, url: str) -> Check:
    with asking("can't look at the queue of what failed"):
        answer = aws.queues.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    count = int(answer["Attributes"]["ApproximateNumberOfMessages"])
    if not count:
        return Check(_NAME, "ok", "nothing that it was to do is in the queue of what failed")
    return Check(
        _NAME,
        "warning",
        f"{count} of the things it was to do failed, and are in the queue {url.rpartition('/')[2]}",
        "its log says why; 'branchline reap' removes what is left; then purge the queue",
    )


def _forges(aws: Aws, secret: str) -> Check:
    known = sorted(read_secret(aws, secret).forges)
    if known:
        return Check(_NAME, "ok", f"it asks {', '.join(known)} which branches there are")
    return Check(
        _NAME,
        "warning",
        "it has no forge's token, so what a lost delivery leaves stays until 'branchline reap' runs",
        "set github.token, or another forge's, and run 'branchline aws bootstrap' again",
    )
