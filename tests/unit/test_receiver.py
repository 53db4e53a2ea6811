"""What `branchline webhook serve` does with deliveries, whatever becomes of its work and of its log."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from branchline.cancellation import Cancellation
from branchline.cli import receiver
from branchline.cli.receiver import Receiver
from branchline.errors import BranchlineError
from branchline.reception import Removal
from branchline.signing import FileSecrets
from tests.forge_payloads import branch_deleted, signed
from tests.waiting import eventually

Remove = Callable[[Removal, Cancellation], dict[str, tuple[str, ...]]]


@contextmanager
def receiving(tmp_path: Path, remove: Remove, *pauses: float) -> Iterator[tuple[Receiver, list[str]]]:
    """A receiver that works, and what it says."""
    said: list[str] = []
    made = Receiver("local", "", FileSecrets(tmp_path / "secrets.json"), remove, said.append, pauses)
    made.start()
    try:
        yield made, said
    finally:
        made.stop(5)


def delete(to: Receiver, branch: str) -> str:
    """Posts the deletion of a branch; returns the answer's status."""
    event, payload = branch_deleted("github", branch, "https://forge.example/team/shop.git")
    headers, body = signed("github", event, payload, to.secrets.read()[0])
    return post(to, "/webhooks/github", headers, body)


def post(to: Receiver, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> str:
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}
    for name, value in (headers or {}).items():
        environ["CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"] = value
    answers: list[str] = []

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        answers.append(status)
        return lambda _: None

    list(to(environ, start_response))
    return answers[0]


def test_a_defect_in_one_removal_keeps_no_other_branch_from_being_removed(tmp_path: Path) -> None:
    def remove(removal: Removal, _: Cancellation) -> dict[str, tuple[str, ...]]:
        if removal.branch == "first":
            raise RuntimeError("token-0123456789")
        return {"shop": ("container",)}

    with receiving(tmp_path, remove) as (to, said):
        assert [delete(to, "first"), delete(to, "second")] == ["202 Accepted"] * 2
        eventually(lambda: any("second: removed 1 resources" in line for line in said), "the second is removed")
    assert any("first: not removed: a defect, please report it: RuntimeError (delivery " in line for line in said)
    assert "token" not in "".join(said)


def test_a_removal_that_hangs_ends_and_the_next_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_TIME", 0.2)

    def remove(removal: Removal, cancellation: Cancellation) -> dict[str, tuple[str, ...]]:
        if removal.branch == "held":
            cancellation.wait(60)
        return {}

    with receiving(tmp_path, remove) as (to, said):
        delete(to, "held")
        delete(to, "next")
        eventually(lambda: any("next: there was nothing to remove" in line for line in said), "the next one's turn")
    assert any("held: not removed: not done within 0.2 seconds" in line for line in said)


def test_who_stops_it_does_not_wait_for_another_attempt(tmp_path: Path) -> None:
    def remove(*_: object) -> dict[str, tuple[str, ...]]:
        raise BranchlineError("the engine doesn't answer")

    with receiving(tmp_path, remove, 60.0) as (to, said):
        delete(to, "feature/login")
        eventually(lambda: any("the engine doesn't answer" in line for line in said), "the first attempt")
        begun = time.monotonic()
        to.stop(5)
        assert time.monotonic() - begun < 1


def test_what_is_under_way_is_ended_when_patience_is_over(tmp_path: Path) -> None:
    begun = threading.Event()

    def remove(_: Removal, cancellation: Cancellation) -> dict[str, tuple[str, ...]]:
        begun.set()
        cancellation.wait(60)
        return {}

    with receiving(tmp_path, remove) as (to, said):
        delete(to, "feature/login")
        assert begun.wait(10)
        to.stop(0.2)
        assert said[-1].startswith("feature/login: not removed: the receiver was stopped (delivery ")


def test_a_path_writes_nothing_of_its_own_into_the_log(tmp_path: Path) -> None:
    with receiving(tmp_path, lambda *_: {}) as (to, said):
        assert post(to, "/webhooks/x\n12:00:00 github: deleted main") == "404 Not Found"
    assert said == ["an unknown forge: 404 no such forge"]
