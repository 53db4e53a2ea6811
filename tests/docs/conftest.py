"""The fixtures of the tests on the real engine, for the pages whose commands are run."""

from __future__ import annotations

from tests.docker.conftest import branchline, shop

__all__ = ["branchline", "shop"]
