"""Tells each event to the forge that its branch is on: for who works on the branches of several repositories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from branchline.events import Event
from branchline.forges.api import forge_of
from branchline.telling import About, Forge


@dataclass(slots=True)
class ForgeReporter:
    """See `telling.Notifier`."""

    configured: Mapping[str, Mapping[str, str]]
    """The forges' settings, by their names."""
    _known: dict[str, Forge | None] = field(default_factory=dict[str, "Forge | None"])
    """By repository: a forge keeps the token that it got as an App."""

    @property
    def name(self) -> str:
        """See `telling.Notifier.name`."""
        return "forge"

    def hear(self, event: Event, about: About) -> None:
        """See `telling.Notifier.hear`. A branch of no forge that is configured is nobody's business."""
        repository = about.repository
        if repository and repository not in self._known:
            self._known[repository] = forge_of(repository, self.configured)
        if (forge := self._known.get(repository)) is not None:
            forge.hear(event, about)
