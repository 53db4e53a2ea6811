"""Other services, through Apprise and over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from branchline.environment import EnvironmentId
from branchline.errors import BranchlineError, ConfigurationError
from branchline.events import DeployStarted, Failed, Ready, Removed
from branchline.notifiers.apprise import Apprise
from branchline.telling import About

# Apprise imports it for one of its services, where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

LOGIN = EnvironmentId("local", "shop", "feature/<b>login</b>")
ABOUT = About(author="Ada", title="Log in", logs="https://ci.example.com/1")


@contextmanager
def service(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address of Apprise's for a server on this machine, and what that gets."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"json://user:correct-horse@127.0.0.1:{server.server_port}/", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_same_facts_are_told_as_plain_text() -> None:
    with service() as (url, got):
        told = Apprise([url])
        told.hear(DeployStarted(LOGIN, "4a21", 1), ABOUT)
        told.hear(Ready(LOGIN, "http://login.localhost", "4a21", 1, {"total": 4.2}, first=True), ABOUT)
        told.hear(Failed(LOGIN, "4a21", "exit code 7", ("no database",)), ABOUT)
        told.hear(Failed(LOGIN, "4a21", "exit code 7", ("no database",), repeated=True), ABOUT)
        told.hear(Removed(LOGIN, ("container",), "its branch is gone"), About())
    assert [(each["title"], each["message"], each["type"]) for each in got] == [
        (
            "feature/<b>login</b> is live",
            "http://login.localhost\nshop · 4a21 Log in · Ada · 4.2 s\nhttps://ci.example.com/1",
            "success",
        ),
        (
            "feature/<b>login</b> failed to deploy",
            "exit code 7\nno database\nshop · 4a21 Log in · Ada\nhttps://ci.example.com/1",
            "failure",
        ),
        ("feature/<b>login</b> is removed", "its branch is gone\nshop", "info"),
    ]


def test_nobody_is_mentioned_by_a_branch_or_by_what_a_container_printed() -> None:
    everyone = EnvironmentId("local", "shop", "@everyone")
    with service() as (url, got):
        told = Apprise([url])
        told.hear(Failed(everyone, "4a21", "@here", ("<@U123> @everyone",)), About(title="@all", author="@ada"))
        told.hear(
            Ready(everyone, "http://x.localhost", "4a21", 1, {}, first=True), About(logs="https://ci.example/@me/1")
        )
    texts = [f"{each['title']} {each['message']}" for each in got]
    assert [text.count("@\N{ZERO WIDTH SPACE}") for text in texts] == [6, 1]
    assert texts[0].count("@") == 6
    assert texts[1].endswith("\nhttps://ci.example/@me/1")


def test_a_service_that_fails_keeps_no_other_from_being_told_and_shows_no_secret(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with service(500) as (broken, _), service() as (sound, got):
        told = Apprise([broken, sound])
        with pytest.raises(BranchlineError, match=r"^json didn't take the message$"):
            told.hear(Removed(LOGIN, ("container",)), ABOUT)
        assert len(got) == 1
        assert "correct-horse" not in repr(told)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_what_apprise_does_not_take_is_refused_at_once_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"^number 2 of apprise.urls is no URL") as raised:
        Apprise(["json://127.0.0.1", "nosuch://correct-horse"])
    assert "correct-horse" not in raised.value.message + raised.value.remedy


def test_without_the_package_the_error_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['apprise'] = None\n"
        "from branchline.errors import ConfigurationError\n"
        "from branchline.notifiers.apprise import Apprise\n"
        "try:\n    Apprise(['json://127.0.0.1'])\n"
        "except ConfigurationError as error:\n    print(error.message, error.remedy, sep='; ')\n"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "Apprise is not installed; install it: pip install 'branchline[apprise]'" in said
