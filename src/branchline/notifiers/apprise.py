"""Any other service, through Apprise: the same facts as Slack gets, as plain text. An optional extra.

Apprise's URLs hold secrets, and what it logs may hold its URLs: of a service, only its scheme is ever named, and its
log goes nowhere. https://github.com/caronc/apprise
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from branchline.errors import BranchlineError, ConfigurationError
from branchline.events import Event
from branchline.notifiers.facts import Fact, worth_telling

if TYPE_CHECKING:
    from apprise import NotifyBase

    from branchline.telling import About

INSTALL = "pip install 'branchline[apprise]'"


@dataclass(frozen=True, slots=True)
class Apprise:
    """Tells every service that Apprise's URLs name.

    Raises:
        ConfigurationError: Apprise is not installed, or doesn't take one of the URLs.
    """

    urls: Sequence[str] = field(repr=False)
    _services: list[tuple[str, NotifyBase]] = field(init=False, repr=False, compare=False, default_factory=list)
    """Each with its scheme."""

    def __post_init__(self) -> None:
        try:
            import apprise
        except ImportError as error:
            raise ConfigurationError(
                "apprise.urls is set, but Apprise is not installed", remedy=f"install it: {INSTALL}"
            ) from error
        log = logging.getLogger("apprise")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        for number, url in enumerate(self.urls, 1):
            service = apprise.Apprise.instantiate(url)  # pyright: ignore[reportUnknownMemberType] - takes a bare dict
            if service is None:
                raise ConfigurationError(
                    f"number {number} of apprise.urls is no URL that Apprise takes",  # not quoted, as it is a secret
                    remedy="see the service's page in Apprise's documentation for how to write it",
                )
            self._services.append((url.partition(":")[0], service))

    @property
    def name(self) -> str:
        """See `telling.Notifier.name`."""
        return "apprise"

    def hear(self, event: Event, about: About) -> None:
        """See `telling.Notifier.hear`. One service that fails keeps no other from being told."""
        fact = worth_telling(event, about)
        if fact is None:
            return
        failed = [scheme for scheme, service in self._services if not _tell(service, fact)]
        if failed:
            raise BranchlineError(f"{' and '.join(failed)} didn't take the message", remedy="check apprise.urls")


def _without_mentions(text: str) -> str:
    """With a space of no width after each `@`: else, Discord tells everybody of a branch called `@everyone`."""
    return text.replace("@", "@\N{ZERO WIDTH SPACE}")


def _tell(service: NotifyBase, fact: Fact) -> bool:
    from apprise import NotifyFormat, NotifyType

    kinds = {"live": NotifyType.SUCCESS, "failed": NotifyType.FAILURE, "removed": NotifyType.INFO}
    words = [fact.reason, *fact.lines, fact.context]
    text = [fact.url, *map(_without_mentions, words), fact.logs]
    try:
        return bool(
            service.notify(
                title=_without_mentions(f"{fact.branch} {fact.said}"),
                body="\n".join(line for line in text if line),
                notify_type=kinds[fact.kind],
                body_format=NotifyFormat.TEXT,
            )
        )
    except Exception:  # noqa: BLE001 - a plug-in's own, whose words may hold a secret
        return False
