"""The CloudFormation templates of a platform's base, as they ship: an operator may print, read and fork them."""

from __future__ import annotations

from importlib import resources
from typing import Literal

Template = Literal["base", "load-balancer", "capacity-ec2", "webhook"]
TEMPLATES: tuple[Template, ...] = ("base", "load-balancer", "capacity-ec2", "webhook")


def text(name: Template) -> str:
    """The template, in YAML."""
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text("utf-8")
