"""The one place that puts a platform together from the operator's settings: which engine, images, lease and router.

Vendors are imported inside the functions, so that a command that needs none of them starts at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from branchline.errors import ConfigurationError
from branchline.ports import Builder, Platform
from branchline.settings.platform import PlatformSettings
from branchline.signing import FileSecrets, Secrets
from branchline.telling import Bookmarks, Notifier

if TYPE_CHECKING:
    from branchline.checks import Check
    from branchline.engines.docker.routing import Routing
    from branchline.engines.ecs.aws import Aws
    from branchline.engines.ecs.webhook_secret import Document


def state_directory(settings: PlatformSettings) -> Path:
    """Where the platform's locks, router files and repository mirrors are. No resource is found by it.

    Raises:
        ConfigurationError: the settings name none, and the user has no home directory.
    """
    if settings.state_dir:
        base = Path(settings.state_dir).expanduser().absolute()
    elif os.geteuid() == 0:
        base = Path("/var/lib/branchline")
    else:
        try:
            base = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "branchline"
        except RuntimeError as error:
            raise ConfigurationError(
                "this user has no home directory to keep the platform's state in", remedy="set BRANCHLINE_STATE_DIR"
            ) from error
    return base / settings.platform


def assemble(settings: PlatformSettings) -> Platform:
    """The platform that the settings describe.

    Raises:
        EngineError: the engine can't be reached.
        ConfigurationError: it is on AWS, and there are no credentials or no base.
    """
    return _on_ecs(settings) if settings.engine == "ecs" else _on_docker(settings)


def _on_docker(settings: PlatformSettings) -> Platform:
    from branchline.engines.docker.client import Client
    from branchline.engines.docker.engine import DockerEngine
    from branchline.engines.docker.images import DockerImages
    from branchline.engines.docker.lease import FileLease
    from branchline.engines.docker.routing import Routing

    directory = state_directory(settings)
    client = Client(settings.docker.host)
    lease = FileLease(directory / "leases", settings.parallel)
    routing = Routing(client, settings, directory / "router", lease.held)
    return Platform(
        name=settings.platform,
        engine=DockerEngine(client, settings, lease, routing),
        images=DockerImages(client, settings, lease),
        lease=lease,
    )


def _on_ecs(settings: PlatformSettings) -> Platform:
    from branchline.engines.ecs.aws import Aws
    from branchline.engines.ecs.engine import EcsEngine
    from branchline.engines.ecs.images import EcsImages
    from branchline.engines.ecs.lease import DynamoLease

    aws = Aws(settings.ecs)
    lease = DynamoLease(aws, settings.platform)
    images = EcsImages(aws, settings, lambda: image_builder(settings))
    return Platform(name=settings.platform, engine=EcsEngine(aws, settings, lease, images), images=images, lease=lease)


def image_builder(settings: PlatformSettings) -> Builder:
    """This machine's Docker Engine, for images that run elsewhere."""
    from branchline.engines.docker.builder import DockerBuilder
    from branchline.engines.docker.client import Client
    from branchline.engines.docker.images import DockerImages
    from branchline.engines.docker.lease import FileLease

    client = Client(settings.docker.host, anywhere=True)
    lease = FileLease(state_directory(settings) / "leases", settings.parallel)
    return DockerBuilder(client, DockerImages(client, settings, lease))


def router(settings: PlatformSettings) -> Routing:
    """The platform's router, for the commands that start and stop it.

    Raises:
        ConfigurationError: it is on AWS, where there is none to start or stop.
    """
    if settings.engine == "ecs":
        raise ConfigurationError(
            "on Amazon ECS the load balancer is the router", remedy="'branchline aws doctor' looks at it"
        )
    from branchline.engines.docker.client import Client
    from branchline.engines.docker.lease import FileLease
    from branchline.engines.docker.routing import Routing

    directory = state_directory(settings)
    lease = FileLease(directory / "leases", settings.parallel)
    return Routing(Client(settings.docker.host), settings, directory / "router", lease.held)


def aws(settings: PlatformSettings) -> Aws:
    """The account and region that the settings name, for the commands on what a platform there stands on."""
    from branchline.engines.ecs.aws import Aws

    return Aws(settings.ecs)


def notifiers(settings: PlatformSettings) -> list[Notifier]:
    """Who tells people what happens, as the operator has it; none where nothing of it is set.

    Raises:
        ConfigurationError: one of them can't work as it is set.
    """
    found: list[Notifier] = []
    slack, urls = settings.slack, settings.apprise.urls
    if slack.webhook or slack.token or slack.channel:
        from branchline.notifiers.slack import Slack

        bookmarks = _bookmarks(settings)
        found.append(Slack(slack.webhook, slack.token, slack.channel, slack.people, slack.api, bookmarks))
    if urls:
        from branchline.notifiers.apprise import Apprise

        found.append(Apprise(urls))
    if configured := forges(settings):
        from branchline.forges.reporting import ForgeReporter

        found.append(ForgeReporter(configured))
    return found


def _bookmarks(settings: PlatformSettings) -> Bookmarks:
    from branchline.notifiers.bookmarks import FileBookmarks

    if settings.engine == "ecs":
        from branchline.engines.ecs.bookmarks import DynamoBookmarks

        return DynamoBookmarks(aws(settings), settings.platform)
    return FileBookmarks(state_directory(settings) / "bookmarks")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where forges say that a branch is gone, and what they sign it with."""

    url: str
    """The URL below which they post, without a slash at its end."""
    secrets: Secrets
    public: bool
    """Whether forges are meant to reach it."""


def listening(settings: PlatformSettings) -> Listening:
    """Where the platform listens to forges.

    Raises:
        ConfigurationError: on AWS it doesn't, yet.
    """
    given = settings.webhook.url.rstrip("/")
    if settings.engine == "ecs":
        from branchline.engines.ecs import webhook
        from branchline.engines.ecs.webhook_secret import EcsSecrets

        account = aws(settings)
        made = webhook.require(account, settings.platform)
        api = made.endpoint.partition("://")[2].partition(".")[0]
        return Listening(given.replace("{api}", api) or made.endpoint, EcsSecrets(account, made.secret), public=True)
    bind = settings.webhook.bind
    here = f"http://{f'[{bind}]' if ':' in bind else bind}:{settings.webhook.port}"
    return Listening(given or here, FileSecrets(state_directory(settings) / "webhook-secrets.json"), public=bool(given))


def told(settings: PlatformSettings) -> Document:
    """What the webhook's function on AWS is told of the settings: whom to tell, and which forges may be asked.

    Raises:
        ConfigurationError: Slack can't work as it is set.
    """
    from branchline.engines.ecs.webhook_secret import Document

    # A GitHub App's key is in a file here, and the Lambda doesn't have what signs with it.
    usable = {name: table for name, table in forges(settings).items() if "token" in table}
    return Document(slack=_slack(settings), forges=usable)


def _slack(settings: PlatformSettings) -> dict[str, Any]:
    """The table [slack]; empty where nothing can be sent by it."""
    if not (settings.slack.webhook or settings.slack.token):
        return {}
    import msgspec

    from branchline.notifiers.slack import Slack

    table = msgspec.to_builtins(settings.slack)
    Slack(**table)  # what is wrong with it is said here: in the function, no branch would be removed for it
    return table


def forges(settings: PlatformSettings) -> dict[str, dict[str, str]]:
    """The tables of the forges that may be used, by their names; what they are left empty isn't in them."""
    import msgspec

    tables = {name: msgspec.to_builtins(getattr(settings, name)) for name in ("github", "gitlab", "bitbucket", "gitea")}
    usable = {name: table for name, table in tables.items() if table["token"] or table.get("app")}
    return {name: {key: value for key, value in table.items() if value} for name, table in usable.items()}


def checks(settings: PlatformSettings) -> list[Check]:
    """What `doctor` looks at, each with its finding and remedy."""
    if settings.engine == "ecs":
        from branchline.checks import git, state, versions

        return [versions(), git(), state(state_directory(settings)), *aws_checks(settings)]
    from branchline.engines.docker import checks as docker_checks

    return docker_checks.run(settings, state_directory(settings))


def aws_checks(settings: PlatformSettings) -> list[Check]:
    """What `aws doctor` looks at: the account, what the platform stands on there, and what builds its images here."""
    from branchline.engines.docker import checks as docker_checks
    from branchline.engines.ecs import checks as ecs_checks
    from branchline.engines.ecs.aws import Aws

    account = Aws(settings.ecs, attempts=3)  # who asks what is wrong shall not wait for it to pass
    return [*ecs_checks.run(account, settings), docker_checks.for_building(settings)]
