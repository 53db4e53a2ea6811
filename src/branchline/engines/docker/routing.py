"""Keeps the router in step with the engine: every route is computed from the containers' names and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from branchline import labels
from branchline.cancellation import Cancellation
from branchline.engines.docker import inventory
from branchline.engines.docker.client import Client
from branchline.engines.docker.inventory import Holdings
from branchline.engines.docker.records import Container
from branchline.engines.docker.router.routes import Route
from branchline.environment import EnvironmentId, State
from branchline.settings.platform import PlatformSettings

if TYPE_CHECKING:
    from branchline.engines.docker.router.process import Router


class Routing:
    """The router of one platform, as the engine's room uses it."""

    def __init__(
        self, client: Client, settings: PlatformSettings, directory: Path, deploying: Callable[[EnvironmentId], bool]
    ) -> None:
        self._client = client
        self._settings = settings
        self._directory = directory
        self._deploying = deploying

    @cached_property
    def router(self) -> Router:
        """The process itself. Its module is only loaded by commands that need it."""
        from branchline.engines.docker.router.process import Router

        return Router(self._settings, self._directory)

    def check(self) -> None:
        """Returns once a router runs, started here if need be.

        Raises:
            RouterError: it can't be, for example because the port is taken.
        """
        if not self.router.running():
            self.sync()

    def sync(self, *, without: frozenset[str] = frozenset(), start: bool = True) -> None:
        """Gives the router the routes as the engine has them now, less those to the containers in `without`.

        Within a lock, so that of two processes the later look at the engine is also the later word to the router.
        With `start` false, a router that doesn't run is left alone.
        """
        with self.router.lock():
            if not start and not self.router.running():
                return
            ours = {labels.PLATFORM: self._settings.platform}
            containers = [item for item in self._client.containers(ours) if item.id not in without]
            found = inventory.holdings(containers, self._client.volumes(ours))
            self.router.apply(routes(found.values(), self._settings, self._deploying))

    def start(self) -> None:
        """Starts the router, and closes the firewall, whose rules are gone when the machine has restarted.

        The engine starts the containers by itself then, so this comes first. Repeatable.
        """
        from branchline.engines.docker import firewall

        firewall.close(self._settings.platform)
        self.sync()

    def stop(self) -> bool:
        """Stops the router, and takes back the firewall's rules where no container needs them any more.

        Returns whether a router was running.
        """
        from branchline.engines.docker import firewall

        with self.router.lock():
            stopped = self.router.stop()
        if not self._client.containers({labels.PLATFORM: self._settings.platform}):
            firewall.open_again(self._settings.platform)
        return stopped

    def drain(self, container: Container, cancellation: Cancellation) -> None:
        """Waits until no request is in flight at the container, at most for its grace."""
        if container.state == "running":
            grace = float(container.labels.get(labels.GRACE, "15"))
            self.router.drain(upstream(container), grace, cancellation)


def upstream(container: Container) -> str:
    """Where the router reaches the container."""
    return f"{container.address}:{container.labels.get(labels.PORT, '')}"


def routes(
    found: Iterable[Holdings], settings: PlatformSettings, deploying: Callable[[EnvironmentId], bool]
) -> list[Route]:
    """One route an environment. A release that crashed keeps its route: it comes back at the same address."""
    listed: list[Route] = []
    for held in found:
        environment = inventory.environment(held, settings, deploying)
        if environment is None:
            continue
        state, target = environment.state, ""
        if held.serving is not None and not inventory.asleep(held.serving):
            state, target = State.READY, upstream(held.serving)
        listed.append(Route(environment.host, state, target, labels.branch_value(held.id.branch), held.id.project))
    return sorted(listed, key=lambda route: route.state is State.READY)  # of two for one host, the last one counts
