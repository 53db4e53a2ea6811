"""Bookmarks in the platform's lease table, for who tells people from many machines and from the Lambda."""

from __future__ import annotations

import time

from branchline.engines.ecs import names
from branchline.engines.ecs.aws import Aws, asking
from branchline.engines.ecs.lease_records import BOOKMARKS, key_of
from branchline.environment import EnvironmentId

_KEPT = 90 * 24 * 3600
"""Seconds until DynamoDB removes what nobody has."""


class DynamoBookmarks:
    """See `telling.Bookmarks`. An environment's are one item, beside its lease."""

    def __init__(self, aws: Aws, platform: str) -> None:
        self._aws = aws
        self._table = names.lease_table(platform)

    def read(self, environment: EnvironmentId, name: str) -> str:
        """See `telling.Bookmarks.read`."""
        with asking("can't read a bookmark"):
            item = self._aws.dynamodb.get_item(
                TableName=self._table, Key={"environment": {"S": _key(environment)}}, ConsistentRead=True
            ).get("Item", {})
        return item.get(name, {}).get("S", "")

    def write(self, environment: EnvironmentId, name: str, value: str) -> None:
        """See `telling.Bookmarks.write`."""
        with asking("can't write a bookmark"):
            self._aws.dynamodb.update_item(
                TableName=self._table,
                Key={"environment": {"S": _key(environment)}},
                UpdateExpression="SET #name = :value, expires_at = :expires",
                ExpressionAttributeNames={"#name": name},
                ExpressionAttributeValues={
                    ":value": {"S": value},
                    ":expires": {"N": str(int(time.time()) + _KEPT)},
                },
            )

    def forget(self, environment: EnvironmentId) -> None:
        """See `telling.Bookmarks.forget`."""
        with asking("can't remove a bookmark"):
            self._aws.dynamodb.delete_item(TableName=self._table, Key={"environment": {"S": _key(environment)}})


def _key(environment: EnvironmentId) -> str:
    return f"{BOOKMARKS}{key_of(environment)}"
