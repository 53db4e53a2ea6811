"""What an image says about itself, and which port is chosen by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from branchline.errors import ConfigurationError

if TYPE_CHECKING:
    from branchline.settings.application import Application

_USUAL_PORTS = (80, 8080, 8000, 3000, 5000)
"""Which one is the web server's where EXPOSE names several."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is on this machine."""

    id: str
    """The digest of its configuration, `sha256:…`: the same for the same content."""
    ports: tuple[str, ...]
    """What EXPOSE says, such as `8000/tcp`."""
    env: Mapping[str, str]
    architecture: str
    """As Go names it: `amd64` or `arm64`."""


def choose_port(application: Application, exposed_ports: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """The port that the application listens on, and the rule that chose it.

    `exposed_ports` and `env` are the image's own: its EXPOSE and ENV.

    Raises:
        ConfigurationError: neither the settings nor the image say.
    """
    if application.port is not None:
        return application.port, "port in branchline.toml"
    exposed = sorted(int(port.split("/")[0]) for port in exposed_ports if port.endswith("/tcp") or "/" not in port)
    if len(exposed) == 1:
        return exposed[0], "EXPOSE in the Dockerfile"
    if exposed:
        usual = next((port for port in _USUAL_PORTS if port in exposed), exposed[0])
        return usual, f"one of {len(exposed)} that EXPOSE names; set port in branchline.toml for another"
    if env.get("PORT", "").isdecimal():
        return int(env["PORT"]), "PORT in the image's environment"
    raise ConfigurationError(
        "the image names no port: it has no EXPOSE and sets no PORT",
        remedy="add EXPOSE with the application's port to the Dockerfile, or set port in branchline.toml",
    )
