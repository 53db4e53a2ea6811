"""What the router is asked for: which host leads where. The engine's labels say so, at every change."""

from __future__ import annotations

from dataclasses import dataclass

from branchline.environment import State


@dataclass(frozen=True, slots=True)
class Route:
    """One environment's host, and what a visitor of it gets."""

    host: str
    state: State
    upstream: str = ""
    """`address:port` of the serving release, such as `10.213.0.2:8000`. Only a `ready` route has one."""
    branch: str = ""
    project: str = ""
