"""The engine `docker`: one machine's containers, networks and router as a platform for environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.engines.docker import inventory, release, subnets
from branchline.engines.docker.client import Client
from branchline.engines.docker.inventory import Holdings, release_number
from branchline.engines.docker.lease import FileLease
from branchline.engines.docker.memory import bytes_in_use
from branchline.engines.docker.preparation import Preparation
from branchline.engines.docker.records import Container, ImageDetails
from branchline.engines.docker.refusals import RefusedError
from branchline.engines.docker.routing import Routing
from branchline.environment import Environment, EnvironmentId, Release
from branchline.errors import BranchlineError, ConfigurationError, EngineError, NotFoundError, ReleaseError
from branchline.events import Note, Phase, Publish
from branchline.image import choose_port
from branchline.phases import phase
from branchline.ports import Push
from branchline.redaction import redact
from branchline.settings.platform import PlatformSettings

if TYPE_CHECKING:
    from branchline.engines.docker.health import Probe

_REASON_LENGTH = 500


class DockerEngine:
    """See `ports.Engine` for what each method promises."""

    def __init__(self, client: Client, settings: PlatformSettings, lease: FileLease, router: Routing) -> None:
        self._client = client
        self._settings = settings
        self._lease = lease
        self._router = router
        self._preparations: dict[EnvironmentId, Preparation[IPv4Network]] = {}

    def environments(self, project: str | None = None) -> list[Environment]:
        """Every environment, by project and branch; two calls, however many there are."""
        found = self._holdings(project=project)
        environments = [
            inventory.environment(held, self._settings, self._lease.held, self._memory) for held in found.values()
        ]
        return sorted(
            (environment for environment in environments if environment is not None),
            key=lambda environment: (environment.id.project, environment.id.branch),
        )

    def find(self, environment: EnvironmentId) -> Environment | None:
        """One environment, from the same two calls."""
        held = self._held(environment)
        return inventory.environment(held, self._settings, self._lease.held, self._memory)

    def begin(self, push: Push) -> Release:
        """Puts the coming release on record, and clears what a killed deploy left."""
        environment = push.environment
        self._refuse_taken_host(push)
        self._router.check()
        held = self._held(environment)
        for container in held.candidates:
            self._client.remove(container.id)
        for record in held.pending:
            self._client.remove_volume(record.name)
        coming = Release(environment, held.last_number + 1, push.commit, release.now())
        try:
            with self._lease.project(environment.project):
                self._client.create_volume(
                    f"{release.base(environment)}.{coming.number}.{inventory.PENDING}",
                    release.release_labels(push, coming, self._settings, held.created or coming.created),
                )
            self._preparations[environment] = Preparation(
                lambda: self._prepare(environment, first=held.serving is None)
            )
        except BaseException:
            self.abandon(coming)
            raise
        return coming

    def _prepare(self, environment: EnvironmentId, *, first: bool) -> IPv4Network:
        """What the release needs besides its image: visitors hear that it is being built, and it gets its network."""
        from branchline.engines.docker import network

        if first:
            self._router.sync()
        return network.ensure(self._client, environment, release.base(environment), self._settings.docker.subnets)

    def serving(self, push: Push, image: str) -> Environment | None:
        """The environment if its serving container has the digest that a new one would get, and runs."""
        details, held = self._image(image), self._held(push.environment)
        if held.serving is None or held.serving.state != "running" or "(unhealthy)" in held.serving.status:
            return None
        if held.serving.labels.get(labels.CONFIGURATION) != release.configuration(push, details, self._settings):
            return None
        if not release.lives_long_enough(inventory.expires(held.serving.labels), self._settings):
            return None
        self._router.sync()  # the deploy that started it may have been killed before it got to that
        return inventory.environment(held, self._settings, lambda _: False)

    def run(self, push: Push, coming: Release, cancellation: Cancellation, publish: Publish) -> Environment:
        """Start, wait until healthy, switch the route: the rename to `live` is the moment that counts."""
        from branchline.engines.docker.health import Probe

        environment, image = push.environment, self._image(coming.image)
        port, rule = choose_port(push.application, image.ports, image.env)
        publish(Note(environment, f"port {port}: {rule}"))
        held = self._held(environment)
        created = held.created or coming.created
        with phase(environment, Phase.START, publish):
            taken = {item.address for item in held.containers}
            subnet = self._preparations[environment].result()
            addresses = (str(subnets.address(subnet, coming.number + more)) for more in range(len(taken) + 1))
            address = next(address for address in addresses if address not in taken)
            spec = release.container_spec(push, coming, image, self._settings, address, created)
            container = self._client.create(spec)
            self._start(container)
        probe = Probe(
            container=container,
            address=address,
            port=port,
            port_rule=rule,
            host=release.host(push, self._settings),
            health=push.application.health,
            command=image.healthcheck if push.application.health.path is None else (),
            memory=push.application.limits.memory,
            secrets=push.secrets,
        )
        self._wait(environment, probe, cancellation, publish)
        cancellation.check()
        with phase(environment, Phase.ROUTE, publish):
            self._client.keep_running(container)
            self._client.rename(container, f"{spec.name}.{inventory.LIVE}")
            self._router.sync()
        found = self.find(environment)
        if found is None or found.release is None:
            raise EngineError("the release was removed while it was put into service", remedy="deploy it again")
        return found

    def retire(self, environment: EnvironmentId, cancellation: Cancellation) -> None:
        """Keeps the last release that served, stopped; removes those before it and the records of this deploy."""
        held = self._held(environment)
        if held.serving is None:
            return
        for record in held.volumes:
            if release_number(record.labels) <= release_number(held.serving.labels):
                self._client.remove_volume(record.name)
        replaced = [*held.live[:-1], *(item for item in held.previous if item.state == "running")]
        if replaced:
            self._router.sync()  # whoever replaced them may have been killed before it got to that
        for old in replaced:
            self._router.drain(old, cancellation)
            self._client.stop(old.id, release.stop_timeout(old))
        kept = held.live[-2:-1] or held.previous[-1:]
        for old in (*held.previous, *held.live[:-1]):
            if old not in kept:
                self._client.remove(old.id)
        for old in held.live[-2:-1]:
            self._client.rename(old.id, release.container_name(old, inventory.PREVIOUS))

    def abandon(self, coming: Release) -> None:
        """Takes back a release that doesn't serve, or shouldn't, wherever its deploy had got to."""
        if coming.environment in self._preparations:
            self._preparations.pop(coming.environment).end()
        held = self._held(coming.environment)
        ours = [item for item in (*held.candidates, *held.live) if release_number(item.labels) == coming.number]
        if any(item in held.live for item in ours):
            with suppress(BranchlineError):  # it may be what failed, and the release has to go all the same
                self._router.sync(without=frozenset(item.id for item in ours))
        for container in ours:
            self._client.remove(container.id)
        for record in held.pending:
            if release_number(record.labels) <= coming.number:
                self._client.remove_volume(record.name)
        if len(held.containers) == len(ours):
            self._remove_networks(coming.environment)
            with suppress(BranchlineError):  # a router that doesn't run has no route to take back
                self._router.sync(start=False)

    def fail(self, push: Push, coming: Release, reason: str) -> None:
        """Takes the release back, but keeps why it failed; only the latest failure is kept."""
        held = self._held(push.environment)
        on_record = release.release_labels(push, coming, self._settings, held.created or coming.created)
        on_record |= {labels.REASON: redact(reason, push.secrets)[:_REASON_LENGTH], labels.STATE: inventory.FAILED}
        self._client.create_volume(f"{release.base(push.environment)}.{coming.number}.{inventory.FAILED}", on_record)
        for record in held.failed:
            self._client.remove_volume(record.name)
        self.abandon(coming)

    def destroy(self, environment: EnvironmentId) -> list[str]:
        """The route goes first, so that a visitor gets the 404 page and not an error; then what it pointed at."""
        held = self._held(environment)
        removed: list[str] = []
        if held.containers or held.volumes:
            self._router.sync(without=frozenset(item.id for item in held.containers), start=False)
        for container in held.containers:
            self._client.remove(container.id)
            removed.append(f"container {container.name}")
        removed += self._remove_networks(environment)
        for record in held.volumes:
            self._client.remove_volume(record.name)
            removed.append(f"record {record.name}")
        if held.volumes:  # a record of a failure has a route, too
            self._router.sync(start=False)
        return removed

    def rollback(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> Environment:
        """The previous release's container was only stopped, so it comes back as it was, secrets included."""
        held = self._held(environment)
        earlier = held.previous or held.live[:-1]  # the latter where a rollback was killed between its two renames
        if not earlier or held.serving is None:
            raise NotFoundError(
                f"{environment.branch} has no previous release to go back to",
                remedy="only a release that has served is kept, and only the last one; deploy an older commit instead",
            )
        present, previous = held.serving, earlier[-1]
        try:
            with phase(environment, Phase.START, publish):
                self._start(previous.id)
            self._wait_for(previous, cancellation, publish)
        except BaseException:
            self._client.stop(previous.id, release.stop_timeout(previous))
            raise
        with phase(environment, Phase.ROUTE, publish):
            if held.previous:
                self._client.rename(previous.id, release.container_name(previous, inventory.LIVE))
            self._client.rename(present.id, release.container_name(present, inventory.PREVIOUS))
            self._router.sync()
        return self._existing(environment)

    def sleep(self, environment: EnvironmentId) -> None:
        """Stops the serving container; the engine leaves it so until it is woken."""
        serving = self._serving(environment)
        self._client.stop(serving.id, release.stop_timeout(serving))
        self._router.sync()

    def wake(self, environment: EnvironmentId, cancellation: Cancellation, publish: Publish) -> None:
        """Starts the serving container again; one that doesn't become healthy is stopped again."""
        serving = self._serving(environment)
        try:
            self._start(serving.id)
            self._wait_for(serving, cancellation, publish)
        except BaseException:
            if inventory.asleep(serving):
                self._client.stop(serving.id, release.stop_timeout(serving))
            raise
        self._router.sync()

    def leftovers(self) -> dict[EnvironmentId, list[str]]:
        """Candidates, records and replaced releases of deploys that nobody runs; networks without an environment."""
        found = self._holdings()
        for owner in self._network_owners():
            found.setdefault(owner, Holdings(owner))
        networks = self._network_owners()
        listed: dict[EnvironmentId, list[str]] = {}
        for owner, held in found.items():
            if self._lease.held(owner):
                continue
            containers, records = held.remains
            names = [f"container {item.name}" for item in containers] + [f"record {item}" for item in records]
            if owner in networks and len(held.containers) == len(containers):
                names.append(f"network {release.base(owner)}")
            if names:
                listed[owner] = names
        return listed

    def sweep(self, environment: EnvironmentId) -> list[str]:
        """Removes them; what serves, what can be rolled back to and what failed last stays."""
        held = self._held(environment)
        containers, records = held.remains
        self._router.sync(without=frozenset(item.id for item in containers), start=False)
        for container in containers:
            self._client.remove(container.id)
        for record in records:
            self._client.remove_volume(record)
        removed = [f"container {item.name}" for item in containers] + [f"record {item}" for item in records]
        if len(held.containers) == len(containers):
            removed += self._remove_networks(environment)
            self._router.sync(start=False)
        return removed

    def logs(self, environment: EnvironmentId, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        """What the serving release printed; following, it goes on after crashes and with the releases that follow."""
        from branchline.engines.docker import logs

        serving = self._serving(environment)
        if follow:
            yield from logs.follow(
                self._client, environment.branch, serving, tail, lambda: self._held(environment).serving
            )
        else:
            yield self._client.logs(serving.id, tail)

    def execute(self, environment: EnvironmentId, command: Sequence[str], *, terminal: bool) -> int:
        """Runs a command in the serving container."""
        from branchline.engines.docker.terminal import run_attached

        serving = self._serving(environment)
        if inventory.asleep(serving):
            raise EngineError(f"{environment.branch} sleeps", remedy=f"wake it: branchline wake {environment.branch}")
        if serving.state != "running":
            raise EngineError(
                f"{environment.branch} isn't running: its container keeps crashing",
                remedy=f"see why: branchline logs {environment.branch}",
            )
        return run_attached(self._client, serving.id, list(command), terminal=terminal)

    # What the methods above share

    def _holdings(self, *, project: str | None = None) -> dict[EnvironmentId, Holdings]:
        ours = {labels.PLATFORM: self._settings.platform}
        if project:
            ours[labels.PROJECT] = project
        return inventory.holdings(self._client.containers(ours), self._client.volumes(ours))

    def _held(self, environment: EnvironmentId) -> Holdings:
        ours = release.owner_labels(environment)
        found = inventory.holdings(self._client.containers(ours), self._client.volumes(ours))
        return found.get(environment, Holdings(environment))

    def _serving(self, environment: EnvironmentId) -> Container:
        held = self._held(environment)
        if held.serving is None:
            raise inventory.nothing_serves(environment, inventory.environment(held, self._settings, self._lease.held))
        return held.serving

    def _existing(self, environment: EnvironmentId) -> Environment:
        found = self.find(environment)
        if found is None:
            raise NotFoundError(f"{environment.branch} was destroyed meanwhile")
        return found

    def _image(self, reference: str) -> ImageDetails:
        details = self._client.image(reference)
        if details is None:
            raise EngineError(f"the image {reference} is gone", remedy="deploy again to build it")
        return details

    def _start(self, container: str) -> None:
        try:
            self._client.start(container)
        except RefusedError as error:
            raise ReleaseError(
                error.message,
                remedy="check the image's CMD and ENTRYPOINT, and that it is for this machine's processor",
            ) from error

    def _wait_for(self, container: Container, cancellation: Cancellation, publish: Publish) -> None:
        """Waits for a release that was started again."""
        from branchline.engines.docker.health import probe_of

        image, variables = self._client.image(container.image_id), self._client.variables(container.id)
        probe = probe_of(container, image, variables)
        self._wait(inventory.environment_id(container.labels), probe, cancellation, publish)

    def _wait(self, environment: EnvironmentId, probe: Probe, cancellation: Cancellation, publish: Publish) -> None:
        from branchline.engines.docker.health import wait_until_healthy

        with phase(environment, Phase.HEALTHY, publish, probe.rule):
            wait_until_healthy(self._client, probe, cancellation, lambda text: publish(Note(environment, text)))

    def _refuse_taken_host(self, push: Push) -> None:
        """Two environments of one host would take turns at serving it; two branches of one slug share every name."""
        host = release.host(push, self._settings)
        ours = {labels.PLATFORM: self._settings.platform, labels.HOST: host}
        for owner in inventory.holdings(self._client.containers(ours), self._client.volumes(ours)):
            if owner != push.environment:
                raise ConfigurationError(
                    f"{host} belongs to the branch {owner.branch} of {owner.project}",
                    remedy="rename one of them, or let hosts in platform.toml name the project too",
                )

    def _remove_networks(self, environment: EnvironmentId) -> list[str]:
        removed: list[str] = []
        for found in self._client.networks(release.owner_labels(environment)):
            self._client.remove_network(found.id)
            removed.append(f"network {found.name}")
        return removed

    def _network_owners(self) -> set[EnvironmentId]:
        ours = {labels.PLATFORM: self._settings.platform}
        return {inventory.environment_id(found.labels) for found in self._client.networks(ours)}

    def _memory(self, container: Container) -> int | None:
        return bytes_in_use(container.id)
