"""Stopping work in flight, with real threads and real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from branchline.cancellation import Cancellation
from branchline.errors import DeletedError, SupersededError, TimedOutError

NEWER = SupersededError("a newer commit")
DELETED = DeletedError("the branch was deleted")


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, f"threads left behind: {left}"
        time.sleep(0.01)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """A connection whose other end never says anything."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        yield ours


def from_another_thread(action: Callable[[], None], when: Callable[[], bool]) -> threading.Thread:
    """Runs the action once the condition holds."""

    def wait_and_act() -> None:
        deadline = time.monotonic() + 10
        while not when():
            assert time.monotonic() < deadline, "the condition to act on never held"
            time.sleep(0.005)
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def unblock(connection: socket.socket) -> Callable[[], None]:
    return lambda: connection.shutdown(socket.SHUT_RDWR)


def test_work_that_nobody_cancels_goes_on(connection: socket.socket) -> None:
    cancellation = Cancellation()
    calls: list[str] = []
    with cancellation.interrupted_by(lambda: calls.append("unblocked")), cancellation.deadline(60):
        cancellation.check()
        cancellation.wait(0.001)
    assert not cancellation.cancelled
    cancellation.check()
    assert calls == []


def test_a_blocked_read_ends_with_the_reason_to_stop(connection: socket.socket) -> None:
    cancellation = Cancellation()
    reading = threading.Event()
    canceller = from_another_thread(lambda: cancellation.cancel(NEWER), reading.is_set)
    started = time.monotonic()
    with pytest.raises(SupersededError) as caught, cancellation.interrupted_by(unblock(connection)):
        reading.set()
        assert connection.recv(1) == b"", "ended by the shutdown"
    canceller.join()
    assert caught.value is NEWER
    assert time.monotonic() - started < 10


def test_the_error_that_follows_from_the_cancellation_is_not_what_the_user_sees(connection: socket.socket) -> None:
    cancellation = Cancellation()
    with pytest.raises(SupersededError) as caught, cancellation.interrupted_by(unblock(connection)):
        cancellation.cancel(NEWER)
        raise ConnectionResetError("the engine closed the connection")
    assert caught.value is NEWER
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_an_error_of_the_works_own_stays_what_it_is(connection: socket.socket) -> None:
    cancellation = Cancellation()
    error = ConnectionResetError("the engine went away")
    with pytest.raises(ConnectionResetError) as caught, cancellation.interrupted_by(unblock(connection)):
        raise error
    assert caught.value is error


def test_the_first_reason_stays() -> None:
    cancellation = Cancellation()
    cancellation.cancel(DELETED)
    cancellation.cancel(NEWER)
    with pytest.raises(DeletedError):
        cancellation.check()


def test_of_many_reasons_at_once_one_stays_and_each_read_is_unblocked_once() -> None:
    cancellation = Cancellation()
    calls: list[str] = []
    start = threading.Barrier(8)
    reasons = [SupersededError(str(number)) for number in range(8)]

    def cancel(reason: SupersededError) -> None:
        start.wait()
        cancellation.cancel(reason)

    with pytest.raises(SupersededError) as caught, cancellation.interrupted_by(lambda: calls.append("unblocked")):
        threads = [threading.Thread(target=cancel, args=(reason,)) for reason in reasons]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert calls == ["unblocked"]
    for _ in range(2):
        with pytest.raises(SupersededError) as again:
            cancellation.check()
        assert again.value is caught.value


def test_work_that_starts_after_the_cancellation_does_not_start() -> None:
    cancellation = Cancellation()
    cancellation.cancel(NEWER)
    calls: list[str] = []
    with pytest.raises(SupersededError), cancellation.interrupted_by(lambda: calls.append("unblocked")):
        calls.append("worked")
    with pytest.raises(SupersededError):
        cancellation.wait(60)
    assert calls == []


def test_a_wait_ends_as_soon_as_there_is_a_reason() -> None:
    cancellation = Cancellation()
    waiting = threading.Event()
    canceller = from_another_thread(lambda: cancellation.cancel(NEWER), waiting.is_set)
    started = time.monotonic()
    waiting.set()
    with pytest.raises(SupersededError):
        cancellation.wait(60)
    canceller.join()
    assert time.monotonic() - started < 10


def test_every_blocked_thread_ends(connection: socket.socket) -> None:
    cancellation = Cancellation()
    ended: list[BaseException] = []
    ready = threading.Barrier(4)

    def read() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(20)
            try:
                with cancellation.interrupted_by(unblock(ours)):
                    ready.wait()
                    ours.recv(1)
            except SupersededError as error:
                ended.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    cancellation.cancel(NEWER)
    for thread in threads:
        thread.join(10)
    assert ended == [NEWER] * 3


def test_a_connection_that_is_gone_already_keeps_no_other_from_being_unblocked(connection: socket.socket) -> None:
    cancellation = Cancellation()
    gone = socket.socket()
    gone.close()
    reading = threading.Event()
    canceller = from_another_thread(lambda: cancellation.cancel(NEWER), reading.is_set)
    with (
        pytest.raises(SupersededError),
        cancellation.interrupted_by(unblock(gone)),
        cancellation.interrupted_by(unblock(connection)),
    ):
        reading.set()
        connection.recv(1)
    canceller.join()


def test_a_finished_connection_is_not_touched_any_more(connection: socket.socket) -> None:
    cancellation = Cancellation()
    with cancellation.interrupted_by(unblock(connection)):
        pass
    cancellation.cancel(NEWER)
    connection.sendall(b"still open")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_is_never_turned_into_something_else(interruption: type[BaseException]) -> None:
    cancellation = Cancellation()
    calls: list[str] = []
    with pytest.raises(interruption), cancellation.interrupted_by(lambda: calls.append("unblocked")):
        cancellation.cancel(NEWER)
        raise interruption
    with pytest.raises(interruption), Cancellation().deadline(60):
        raise interruption
    assert calls == ["unblocked"]


def test_a_deadline_ends_a_blocked_read_and_says_how_long_it_allowed(connection: socket.socket) -> None:
    cancellation = Cancellation()
    with (
        pytest.raises(TimedOutError) as caught,
        cancellation.deadline(0.05),
        cancellation.interrupted_by(unblock(connection)),
    ):
        connection.recv(1)
    assert caught.value.message == "not done within 0.05 seconds"
    assert "--timeout" in caught.value.remedy


def test_a_deadline_that_was_kept_cancels_nothing_later() -> None:
    cancellation = Cancellation()
    with cancellation.deadline(0.2):
        pass
    with pytest.raises(SupersededError), cancellation.deadline(None):
        threading.Timer(0.4, cancellation.cancel, (NEWER,)).start()
        cancellation.wait(60)


def test_without_a_deadline_no_thread_is_started() -> None:
    before = threading.active_count()
    with Cancellation().deadline(None):
        assert threading.active_count() == before
