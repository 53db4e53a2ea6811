"""Runs releases as ECS services behind the platform's load balancers. See `ports.Engine` for what each method promises.

AWS holds all state. A release is a revision of the environment's task definition family, whose tags are its record; the
service's tags are a copy of the serving one's, so that a list needs no call for each environment. What a killed deploy
left is known by its lease, which it didn't give back in order: the next turn then looks for leftovers, others needn't.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.engines.ecs import (
    deployment,
    inventory,
    output,
    probe,
    removal,
    rollout,
    routing,
    services,
    specs,
)
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.estate import EcsEstate
from branchline.engines.ecs.images import EcsImages
from branchline.engines.ecs.inventory import Previous
from branchline.engines.ecs.lease import DynamoLease
from branchline.engines.ecs.parallel import uninterrupted
from branchline.engines.ecs.services import Service
from branchline.environment import Environment, EnvironmentId, Release
from branchline.errors import NotFoundError
from branchline.events import Note, Phase, Publish
from branchline.phases import phase
from branchline.ports import Push
from branchline.settings.platform import PlatformSettings


@dataclass
class _Attempt:
    """What a deploy of this process has made so far, so that it can be undone or completed."""

    before: Service | None
    look: bool
    """Whether more may be there than is known: of a killed deploy, or of a call that was sent twice."""
    began: bool = False
    """Whether anything but an image was made."""
    port: int = 0
    task_definition: str = ""
    serves: Service | None = None
    older: tuple[Previous, ...] = ()
    """What is kept of when the deploy begins: what serves, and what served before. One of them is kept in the end."""

    def registered(self, task_definition: str) -> None:
        """Remembers the release's task definition."""
        self.task_definition = task_definition


class EcsEngine(EcsEstate):
    """One platform's environments on Amazon ECS."""

    def __init__(self, aws: Aws, settings: PlatformSettings, lease: DynamoLease, images: EcsImages) -> None:
        super().__init__(aws, settings.platform, lease, images)
        self._settings = settings
        self._images: EcsImages = images
        self._attempts: dict[EnvironmentId, _Attempt] = {}
        self._found: dict[EnvironmentId, Service | None] = {}

    def find(self, environment: EnvironmentId) -> Environment | None:
        """See `ports.Engine.find`."""
        found, service = self._look(environment)
        self._found[environment] = service
        return found

    def _as_environment(self, environment: EnvironmentId, service: Service, values: dict[str, str]) -> Environment:
        """What a service that serves amounts to, without a call."""
        return inventory.serving(environment, service, values, None, self.base.scheme)

    # Deploying

    def begin(self, push: Push) -> Release:
        """See `ports.Engine.begin`. What others see of it is the lease."""
        specs.check(push, self.base, self._settings)
        environment = push.environment
        record = self._lease.record(environment)
        service = self._found.pop(environment, None)
        look = record is not None and record.unclean
        if service is None and not look and not (record and record.failed):
            self._images.expect_none(environment)
        self._attempts[environment] = _Attempt(before=service, look=look)
        return Release(environment, inventory.next_number(service, record), push.commit, specs.now())

    def serving(self, push: Push, image: str) -> Environment | None:
        """See `ports.Engine.serving`."""
        attempt = self._attempts[push.environment]
        service = attempt.before
        if service is None or not (service.described and service.desired and service.running):
            return None
        host, values = specs.host(push, self.base, self._settings), service.values
        wanted = {labels.IMAGE: image, labels.CONFIGURATION: specs.configuration(push, image, host)}
        if not wanted.items() <= values.items():
            return None
        health = push.application.health
        if not probe.ask(self._address(service), host, health.path or "/", health.request_timeout).healthy:
            return None
        if not inventory.lives_long_enough(values, self._settings.lifetime):
            values = specs.prolonged(values, self._settings)
            deployment.tag(self._aws, service, values)
        return self._as_environment(push.environment, service, values)

    def run(self, push: Push, coming: Release, cancellation: Cancellation, publish: Publish) -> Environment:
        """See `ports.Engine.run`."""
        environment, attempt, before = push.environment, self._attempts[push.environment], None
        host = specs.host(push, self.base, self._settings)
        image = self._images.image(push, coming.image, cancellation, publish)
        port, rule = specs.port_of(push, image)
        publish(Note(environment, f"port {port}: {rule}"))
        created = coming.created
        if attempt.before is not None:
            before = replace(attempt.before, values=self._values(attempt.before))
            attempt.older, created = inventory.kept(before.values, before.revision), inventory.created(before.values)
        values = specs.release_values(push, coming, host, port, created, self._settings)
        attempt.port = port
        plan = deployment.Plan(push, coming, self.base, host, port, image, values)
        retried, attempt.began = self._aws.retried.total(), True
        with phase(environment, Phase.START, publish):
            try:
                if before is None or attempt.look:
                    service = deployment.create(
                        self._aws, plan, before, attempt.look, attempt.registered, cancellation, publish
                    )
                else:
                    service = deployment.update(self._aws, plan, before, attempt.registered)
            finally:
                attempt.look = attempt.look or self._aws.retried.total() > retried
        cancellation.check()
        self._await(environment, service, cancellation, publish)

        def settle() -> None:
            if before is not None:
                deployment.tag(self._aws, service, service.values)
            attempt.serves = service

        uninterrupted(settle)
        return self._as_environment(environment, service, service.values)

    def retire(self, environment: EnvironmentId, cancellation: Cancellation) -> None:  # noqa: ARG002 - the protocol's
        """See `ports.Engine.retire`. The old tasks are drained and stopped by ECS itself.

        The definition and image of the release that served just before are kept, for a rollback.
        """
        attempt = self._attempts.pop(environment, None)
        record = self._lease.record(environment)
        if attempt is None and record is not None and record.unclean:  # nothing was made now, but before
            self.sweep(environment)
        self._lease.note_success(environment)
        if attempt is None or attempt.serves is None:
            return
        try:
            self._tidy(environment, attempt.serves, attempt.older, look=attempt.look)
        except BaseException:
            self._lease.note_unclean(environment)
            raise

    def _tidy(self, environment: EnvironmentId, serves: Service, older: Sequence[Previous], *, look: bool) -> None:
        kept = inventory.kept(serves.values, serves.revision)
        revisions, images = {each.revision for each in kept}, {each.image for each in kept}
        if look:
            found = removal.revisions_of(self._aws, environment)
            removal.remove_revisions(self._aws, [arn for arn in found if specs.revision(arn) not in revisions])
            self._images.remove(environment, keep=images)
            removal.remove_other_rules(self._aws, environment, self.base, serves)
            return
        if going := {each.revision for each in older} - revisions:
            removal.remove_revisions(self._aws, [removal.sibling(serves.task_definition, each) for each in going])
        if going := {each.image for each in older} - images:
            self._images.remove_tags(environment, going)

    def abandon(self, coming: Release) -> None:
        """See `ports.Engine.abandon`."""
        environment = coming.environment
        attempt = self._attempts.pop(environment, None)
        if attempt is None or not self._lease.holds(environment):
            return  # whoever has the turn now finds what is left of this one
        if attempt.serves is not None:  # what it has taken the place of is left to the next one
            self._lease.note_unclean(environment)
            return
        try:
            self._undo(environment, attempt)
        except BaseException:
            self._lease.note_unclean(environment)
            raise

    def _undo(self, environment: EnvironmentId, attempt: _Attempt) -> None:
        before = attempt.before
        if before is None:
            if attempt.began or attempt.look:
                removal.destroy(self._aws, environment, self._images, lambda: self.base, look=True)
            else:
                self._images.remove_tags(environment, self._images.uploaded(environment))
            return
        if attempt.task_definition:
            deployment.go_back(self._aws, self.base, before, attempt.port)
            removal.remove_revisions(self._aws, [attempt.task_definition])
        if attempt.look and attempt.began:
            self._tidy(environment, replace(before, values=self._values(before)), (), look=True)
            return
        kept = {inventory.image_tag(before.values), *(each.image for each in attempt.older)}
        self._images.remove_tags(environment, [tag for tag in self._images.uploaded(environment) if tag not in kept])

    def fail(self, push: Push, coming: Release, reason: str) -> None:
        """See `ports.Engine.fail`."""
        self.abandon(coming)
        if not self._lease.holds(push.environment):
            return
        host = specs.host(push, self.base, self._settings)
        repository = push.source.url if push.source else ""
        failed = replace(coming, failure=reason)
        self._lease.note_failure(push.environment, failed, host=host, repository=repository)

    # Changing what serves

    def rollback(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> Environment:
        """See `ports.Engine.rollback`."""
        service = self._existing(environment)
        before = inventory.previous(service.values)
        if not service.described and before is not None and before.revision == service.revision:
            # A rollback was killed. It is gone on with, from the release that the tags still tell of.
            tagged, port = int(service.values[labels.TASK]), int(service.values[labels.PORT])
            arn = removal.sibling(service.task_definition, tagged)
            service = replace(service, task_definition=arn, port=port)
        service = replace(service, values=self._values(service))
        before = inventory.previous(service.values)
        if before is None:
            raise NotFoundError(
                f"{environment.branch} has no previous release", remedy="deploy the commit: --commit C --force"
            )
        arn = removal.sibling(service.task_definition, before.revision)
        values, port = self._read_task_definition(arn)
        left = inventory.previous_of(service.values, service.revision)
        pointers = service.rule, service.values.get(labels.RECORD, "")
        back = replace(
            service,
            task_definition=arn,
            port=port,
            desired=1,
            running=1,
            values=specs.service_values(values, before.revision, left, *pointers),
        )
        try:
            with phase(environment, Phase.START, publish):
                deployment.switch(self._aws, self.base, service, back)
            self._await(environment, back, cancellation, publish)
        except BaseException:
            deployment.switch(self._aws, self.base, back, service)
            raise
        uninterrupted(lambda: deployment.tag(self._aws, back, back.values))
        return self._as_environment(environment, back, back.values)

    def sleep(self, environment: EnvironmentId) -> None:
        """See `ports.Engine.sleep`. The load balancer answers 503 until it is woken."""
        if self._serving(environment).desired:
            deployment.scale(self._aws, environment, 0)

    def wake(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> None:
        """See `ports.Engine.wake`."""
        service = self._serving(environment)
        with phase(environment, Phase.START, publish):
            if not service.desired:
                deployment.scale(self._aws, environment, 1)
        self._await(environment, service, cancellation, publish)

    def _serving(self, environment: EnvironmentId) -> Service:
        service = self._existing(environment)
        return replace(service, values=self._values(service))

    def _existing(self, environment: EnvironmentId) -> Service:
        service = services.find(self._aws, environment)
        if service is None:
            record = self._lease.record(environment)
            if record is not None and record.failed is not None:
                raise NotFoundError(
                    f"{environment.branch} has no release that serves: {record.failed.failure}",
                    remedy="mend that and deploy again",
                )
            raise NotFoundError(
                f"{environment.branch} of {environment.project} has no environment", remedy="see 'branchline list'"
            )
        return service

    def _await(
        self, environment: EnvironmentId, service: Service, cancellation: Cancellation, publish: Publish
    ) -> None:
        """Waits until the service's task definition serves."""
        what = rollout.Rollout(
            environment=environment,
            number=inventory.release_number(service.values),
            base=self.base,
            task_definition=service.task_definition,
            host=service.values.get(labels.HOST, ""),
            health=inventory.health(service.values),
            balancer=self._address(service),
        )
        fall_back = partial(deployment.fall_back, self._aws, self.base, environment)
        with phase(environment, Phase.HEALTHY, publish):
            rollout.wait(self._aws, what, cancellation, publish, fall_back)

    def _address(self, service: Service) -> probe.Address:
        balancer = routing.load_balancer_of(self._aws, service.rule, self.base)
        return probe.address(self._settings.ecs, self.base, balancer)

    # Looking inside

    def logs(self, environment: EnvironmentId, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        """See `ports.Engine.logs`."""
        return output.lines(self._aws, self._serving(environment), environment, follow=follow, tail=tail)

    def execute(self, environment: EnvironmentId, command: Sequence[str], *, terminal: bool) -> int:
        """See `ports.Engine.execute`."""
        from branchline.engines.ecs import session

        return session.run(self._aws, self._serving(environment), environment, command, terminal=terminal)
