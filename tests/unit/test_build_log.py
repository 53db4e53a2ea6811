"""What a build prints, as people get to see it. The traces are recorded from Docker Engine 20.10."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchline.engines.docker.build_log import BuildLog

BUILDS = Path(__file__).parent / "data" / "builds"
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
BUILDERS = ["buildkit", "classic"]


def recorded(name: str) -> tuple[BuildLog, list[str]]:
    """The log of a recorded build, and every line that it showed."""
    log = BuildLog()
    shown = [line for answer in (BUILDS / f"{name}.jsonl").read_bytes().splitlines() for line in log.read(answer)]
    return log, shown


def read(*messages: dict[str, Any], log: BuildLog | None = None) -> list[str]:
    """What a log shows for the messages."""
    log = log or BuildLog()
    return [line for message in messages for line in log.read(json.dumps(message).encode())]


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protobuf message, short enough for one-byte lengths."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def vertex(digest: str, name: str, *, started: bool = True, completed: bool = False, error: str = "") -> bytes:
    """A step of a BuildKit build."""
    parts = [field(1, digest.encode()), field(3, name.encode())]
    parts += [field(5, b"\x08\x01")] if started else []
    parts += [field(6, b"\x08\x02")] if completed else []
    parts += [field(7, error.encode())] if error else []
    return field(1, b"".join(parts))


def printed(digest: str, text: bytes, stream: int = 1) -> bytes:
    """Output of a BuildKit step."""
    return field(3, field(1, digest.encode()) + field(3, stream) + field(4, text))


def trace(*parts: bytes) -> dict[str, Any]:
    """A line of the engine's answer with parts of a trace."""
    return {"id": "moby.buildkit.trace", "aux": base64.b64encode(b"".join(parts)).decode()}


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_steps_and_what_they_print_are_shown(builder: str) -> None:
    log, shown = recorded(f"{builder}-success")
    steps = [line for line in shown if not line.startswith(" ")]
    assert [step.partition("] ")[2] or step.partition(" : ")[2] for step in steps][-2:] in (
        ["COPY page /page (cached)", "RUN echo compiling 2a61; echo a warning >&2; printf 'no line end'"],
        ["RUN echo compiling 2a61; echo a warning >&2; printf 'no line end'", "EXPOSE 80"],
    )
    assert sorted(line for line in shown if line.startswith(" ")) == [
        "  a warning",
        "  compiling 2a61",
        "  no line end",
    ]
    assert not log.error


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_cached_build_shows_its_steps_and_nothing_of_the_builders_own(builder: str) -> None:
    _, shown = recorded(f"{builder}-cached")
    assert len(shown) == {"buildkit": 3, "classic": 4}[builder]
    assert all(line.startswith(("[", "Step ")) for line in shown)


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_failure_names_the_step_and_has_its_output(builder: str) -> None:
    log, _ = recorded(f"{builder}-failure")
    assert log.failing_step.endswith("RUN echo compiling 2a61; echo the reason >&2; exit 9")
    assert sorted(log.failing_output) == ["compiling 2a61", "the reason"]
    assert log.error.endswith("9")


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_progress_bar_is_one_line_in_its_last_state_and_colours_are_gone(builder: str) -> None:
    log, shown = recorded(f"{builder}-progress")
    assert [line for line in shown if line.startswith(" ")] == ["  loading 100%", "  grüß dich", "  green"]
    assert log.failing_output == ("loading 100%", "grüß dich", "green")


def test_of_stages_that_ran_side_by_side_the_one_that_failed_is_named() -> None:
    log, shown = recorded("buildkit-parallel")
    assert log.failing_step.startswith("[assets 2/2] RUN echo assets begin")
    assert log.failing_output == ("assets begin 2a61", "assets fail")
    assert "  server 3" in shown


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_base_image_that_cannot_be_pulled_is_the_step_that_failed(builder: str) -> None:
    log, _ = recorded(f"{builder}-nobase")
    assert "nosuch.example/base:1" in log.failing_step
    assert "no such host" in log.error
    assert log.failing_output == ()


def test_a_syntax_image_that_cannot_be_pulled_is_the_step_that_failed() -> None:
    log, _ = recorded("buildkit-syntax")
    assert log.failing_step == "resolve image config for docker.io/docker/dockerfile:1"


def test_a_step_that_was_called_off_is_not_to_blame_even_if_it_is_told_first() -> None:
    log = BuildLog()
    read(
        trace(vertex("a", "[a 1/1] RUN a"), vertex("b", "[b 1/1] RUN b")),
        trace(vertex("a", "[a 1/1] RUN a", completed=True, error="exit code: 137: context canceled")),
        trace(vertex("b", "[b 1/1] RUN b", completed=True, error="exit code: 4")),
        {"error": "failed to solve: exit code: 4"},
        log=log,
    )
    assert log.failing_step == "[b 1/1] RUN b"


def test_a_character_that_is_cut_in_two_is_whole_again() -> None:
    first, second = "grüß\n".encode()[:3], "grüß\n".encode()[3:]
    assert read(trace(printed("a", first)), trace(printed("a", second))) == ["  grüß"]


def test_output_and_errors_do_not_run_into_each_other() -> None:
    assert read(
        trace(printed("a", b"no line end")),
        trace(printed("a", b"an error\n", stream=2)),
        trace(vertex("a", "[1/1] RUN a", completed=True)),
    ) == ["  an error", "[1/1] RUN a", "  no line end"]
    assert read({"stream": "no line end"}, {"stream": "\x1b[91man error\n\x1b[0m"}, {"stream": "\nmore\n"}) == [
        "  an error",
        "  no line end",
        "  more",
    ]


def test_what_a_step_prints_is_not_taken_for_the_builders_own_words() -> None:
    said = ["Step by step\n", "Successfully built wheel\n", "Removing intermediate files\n", " ---> arrow\n"]
    assert read(*({"stream": text} for text in said)) == [f"  {text.rstrip()}" for text in said]


def test_a_pull_shows_each_layer_once() -> None:
    percents = [
        {"status": "Downloading", "progressDetail": {"current": n, "total": 100}, "progress": f"[{n}]", "id": "5f70"}
        for n in range(100)
    ]
    shown = read(
        {"status": "Pulling from library/python", "id": "3.13"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "5f70"},
        *percents,
        {"status": "Verifying Checksum", "progressDetail": {}, "id": "5f70"},
        {"status": "Download complete", "progressDetail": {}, "id": "5f70"},
        {"status": "Extracting", "progressDetail": {"current": 1, "total": 2}, "id": "5f70"},
        {"status": "Pull complete", "progressDetail": {}, "id": "5f70"},
        {"status": "Digest: sha256:1234"},
        {"status": "Status: Downloaded newer image for python:3.13"},
    )
    assert shown == [
        "  Pulling from library/python",
        "  5f70: Pull complete",
        "  Digest: sha256:1234",
        "  Status: Downloaded newer image for python:3.13",
    ]


def test_only_the_last_lines_of_a_long_output_are_kept() -> None:
    log = BuildLog()
    read({"stream": "Step 1/1 : RUN x"}, *({"stream": f"{number}\n"} for number in range(1000)), log=log)
    assert log.failing_output[-1] == "999"
    assert len(log.failing_output) == 40


def test_a_line_that_never_ends_is_not_kept_whole() -> None:
    log = BuildLog()
    for _ in range(200):
        assert read({"stream": "x" * 10_000}, log=log) == []
    (line,) = log.failing_output
    assert 10_000 < len(line) < 100_000


def assert_safe(lines: list[str]) -> None:
    """Each is one line, and none holds a control character or turns the direction of the text."""
    for line in lines:
        assert [character for character in line if unicodedata.category(character) == "Cc"] == []
        assert [character for character in line if unicodedata.bidirectional(character) in TURNING] == []


@given(st.binary(max_size=500))
def test_no_bytes_in_a_trace_are_an_error(noise: bytes) -> None:
    log = BuildLog()
    assert_safe(read({"id": "moby.buildkit.trace", "aux": base64.b64encode(noise).decode()}, log=log))
    assert_safe([log.failing_step, *log.failing_output])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=120)), max_size=10))
def test_no_output_of_a_step_is_an_error_or_reaches_the_terminal_raw(pieces: list[tuple[str, bytes]]) -> None:
    log = BuildLog()
    assert_safe(read(*(trace(printed(digest, text)) for digest, text in pieces), log=log))
    assert_safe(read(*(trace(vertex(digest, digest, completed=True, error="e")) for digest in "ab"), log=log))
    assert_safe(list(log.failing_output))


@given(st.lists(st.text(max_size=80), max_size=10))
def test_the_classic_stream_may_be_cut_anywhere(pieces: list[str]) -> None:
    log = BuildLog()
    assert_safe(read(*({"stream": piece} for piece in pieces), log=log))
    assert_safe([log.failing_step, *log.failing_output])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "aux", "error", "stream", "status", "progressDetail"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_no_json_is_an_error(message: Any) -> None:
    log = BuildLog()
    log.read(json.dumps(message).encode())
    log.read(json.dumps({"id": "moby.buildkit.trace", "aux": message}).encode())


@given(st.binary(max_size=100))
def test_what_is_no_json_is_shown_as_it_is(noise: bytes) -> None:
    assert_safe(BuildLog().read(noise))
