"""An environment's log group, which its tasks print into."""

from __future__ import annotations

from branchline import labels
from branchline.engines.ecs import names, specs, tags
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.environment import EnvironmentId
from branchline.errors import ConfigurationError


def make(aws: Aws, environment: EnvironmentId, retention: int, account: str) -> None:
    """Makes it, where it isn't there; `retention` is in days, `account` the ARN of anything in the same account.

    Raises:
        ConfigurationError: there is one of that name which isn't ours.
    """
    name = names.log_group(environment)
    try:
        with asking(f"can't create the log group {name}"):
            aws.logs.create_log_group(logGroupName=name, tags=tags.encode(specs.owner(environment)))
    except AwsError as error:
        if error.code != "ResourceAlreadyExistsException":
            raise
        if not _is_ours(aws, environment, account):
            raise ConfigurationError(
                f"the log group {name} isn't Branchline's: it lacks the tag {labels.PLATFORM} = {environment.platform}",
                remedy="remove it; Branchline changes nothing that it doesn't own",
            ) from error
    with asking(f"can't set the retention of the log group {name}"):
        aws.logs.put_retention_policy(logGroupName=name, retentionInDays=retention)


def remove(aws: Aws, environment: EnvironmentId, account: str) -> list[str]:
    """Removes it, if it is there and ours; returns what that was. `account`: see `make`."""
    name = names.log_group(environment)
    if not _is_ours(aws, environment, account):
        return []
    try:
        with asking(f"can't delete the log group {name}"):
            aws.logs.delete_log_group(logGroupName=name)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return []
        raise
    return [f"log group {name}"]


def _is_ours(aws: Aws, environment: EnvironmentId, account: str) -> bool:
    name = names.log_group(environment)
    partition, number = account.split(":")[1], account.split(":")[4]
    try:
        with asking(f"can't read the tags of the log group {name}"):
            found = aws.logs.list_tags_for_resource(
                resourceArn=f"arn:{partition}:logs:{aws.region}:{number}:log-group:{name}"
            )["tags"]
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return False
        raise
    return tags.decode(found).get(labels.PLATFORM) == environment.platform
