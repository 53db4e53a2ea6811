"""A real browser: Debian's Chromium, which resolves *.localhost by itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.docker.conftest import branchline, shop

__all__ = ["branchline", "shop"]

_FLAGS = [
    "--no-sandbox",  # the tests may run as root, where Chromium has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser that was started for the test."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("These tests need Debian's chromium; 'make test' sees to it.", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        context = browser.new_context(ignore_https_errors=True)
        yield context.new_page()
        browser.close()
