"""What a platform has on Amazon ECS, and its removal: all that is done without deploying anything.

The Lambda does this with nothing but the standard library and boto3, so nothing here may need more.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from branchline import labels
from branchline.engines.ecs import inventory, leftovers, removal, routing, services, specs, tags
from branchline.engines.ecs.aws import Aws, asking
from branchline.engines.ecs.base import Base, read_base
from branchline.engines.ecs.image_store import EcsImageStore
from branchline.engines.ecs.lease import DynamoLease
from branchline.engines.ecs.services import Service
from branchline.environment import Environment, EnvironmentId


class EcsEstate:
    """One platform's environments on Amazon ECS, for who looks at them or removes them. See `ports.Estate`."""

    def __init__(self, aws: Aws, platform: str, lease: DynamoLease, images: EcsImageStore) -> None:
        self._aws = aws
        self._platform = platform
        self._lease = lease
        self._images = images

    @cached_property
    def base(self) -> Base:
        """What `branchline aws bootstrap` made."""
        return read_base(self._aws, self._platform)

    # What there is

    def environments(self, project: str | None = None) -> list[Environment]:
        """See `ports.Estate.environments`."""
        records = {record.environment: record for record in self._lease.records(project)}
        scheme, found = self.base.scheme, list[Environment | None]()
        for service in services.every(self._aws, self._platform):
            environment = specs.environment_id(service.values)
            if environment is not None and project in (None, environment.project):
                record = records.pop(environment, None)
                found.append(inventory.environment(environment, service, self._values(service), record, scheme))
        found += [inventory.environment(each, None, {}, record, scheme) for each, record in records.items()]
        return sorted(filter(None, found), key=lambda each: (each.id.project, each.id.branch))

    def find(self, environment: EnvironmentId) -> Environment | None:
        """See `ports.Estate.find`."""
        return self._look(environment)[0]

    def _look(self, environment: EnvironmentId) -> tuple[Environment | None, Service | None]:
        record = self._lease.record(environment)
        service = services.find(self._aws, environment)
        values = self._values(service) if service else {}
        return inventory.environment(environment, service, values, record, self.base.scheme), service

    def _values(self, service: Service) -> dict[str, str]:
        """The serving release's record: the service's own copy where that is up to date.

        Otherwise whoever was to bring it up to date was killed, and what it tells of is what served before.
        """
        if service.described:
            return service.values
        values = {**service.values, **self._read_task_definition(service.task_definition)[0]}
        if tagged := service.values.get(labels.TASK):
            values[labels.PREVIOUS] = str(inventory.previous_of(service.values, int(tagged)))
        return values

    def _read_task_definition(self, arn: str) -> tuple[dict[str, str], int]:
        """A task definition's record, and its container's port."""
        with asking(f"can't read the task definition {arn}"):
            answer = self._aws.ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        containers = answer["taskDefinition"].get("containerDefinitions", [])
        mappings = [mapping for container in containers for mapping in container.get("portMappings", [])]
        return tags.read(answer.get("tags", [])), mappings[0].get("containerPort", 0) if mappings else 0

    # Removing

    def destroy(self, environment: EnvironmentId) -> list[str]:
        """See `ports.Estate.destroy`."""
        record = self._lease.record(environment)
        look = record is not None and (record.unclean or record.failed is not None)
        try:
            removed = removal.destroy(self._aws, environment, self._images, lambda: self.base, look=look)
        except BaseException:
            self._lease.note_unclean(environment)
            raise
        self._lease.forget(environment)
        return removed

    def leftovers(self) -> dict[EnvironmentId, list[str]]:
        """See `ports.Estate.leftovers`."""
        return leftovers.find(self._aws, self.base, self._images, self._lease)

    def sweep(self, environment: EnvironmentId) -> list[str]:
        """See `ports.Estate.sweep`."""
        service = services.find(self._aws, environment)
        if service is None or (service.rule and not routing.exists(self._aws, service.rule)):
            return self.destroy(environment)  # which was killed after it had begun with the route
        described = replace(service, values=self._values(service))
        removed = leftovers.sweep(self._aws, self.base, self._images, environment, described)
        self._lease.note_clean(environment)
        return removed
