"""What `init` reads from a Dockerfile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from branchline.dockerfile import Dockerfile, read

STAGES = """\
# syntax=docker/dockerfile:1
ARG PORT_NUMBER=8000
FROM --platform=$BUILDPLATFORM node:22 AS build
EXPOSE 1111
HEALTHCHECK CMD true
RUN <<EOF
EXPOSE 2222
FROM nothing
EOF

FROM python:3.13 AS Base
ARG PORT_NUMBER
ENV PORT=$PORT_NUMBER NAME="a b"
expose ${PORT}/tcp \\
  # also the metrics
  ${METRICS:-9100}

FROM base
COPY --from=build /x /x
"""


def test_the_last_stage_counts_with_what_it_has_from_the_stage_it_is_built_from() -> None:
    assert read(STAGES) == Dockerfile(
        stages=("build", "base", "2"), ports=(8000, 9100), healthcheck=False, port_variable=8000
    )


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        ("EXPOSE 80", (80,)),
        ("EXPOSE 80 443/tcp 53/udp 80", (80, 443)),
        ("EXPOSE\t7000-7002/TCP", (7000, 7001, 7002)),
        ('EXPOSE 80\nRUN echo "EXPOSE 90"', (80,)),
        ("# EXPOSE 80", ()),
        ("ONBUILD EXPOSE 80", ()),
        ("ARG P=80\nEXPOSE $P", (80,)),
        ("ARG P=80\nENV P=81\nARG P=82\nEXPOSE $P", (81,)),
        ("ARG P\nEXPOSE $P", ()),
        ("ARG P\nEXPOSE ${P:-80}", (80,)),
        ("ENV P=\nEXPOSE ${P:-80} ${P-81}", (80,)),
        ("ENV P=1\nEXPOSE ${P:+82}", (82,)),
        ("ENV P 80\nEXPOSE $P", (80,)),
        ("ENV A=8 B=${A}0\nEXPOSE ${A}1", (81,)),
        ("ENV P='80\nEXPOSE $P 81", (81,)),
        ("EXPOSE $UNKNOWN 80", (80,)),
        ("EXPOSE 0 65536 x 80", (80,)),
        ("RUN cat <<'A' <<-B > /x\nEXPOSE 1\nA\nEXPOSE 2\n\tB\nEXPOSE 80", (80,)),
        ("RUN echo $((1<<2))\nEXPOSE 80", (80,)),
        ("EXPOSE 80 \\", (80,)),
    ],
)
def test_exposed_ports_are_found(lines: str, ports: tuple[int, ...]) -> None:
    assert read(f"FROM scratch\n{lines}").ports == ports


def test_another_escape_character_is_understood() -> None:
    assert read("# escape=`\nFROM x\nEXPOSE `\n 80").ports == (80,)


@pytest.mark.parametrize(
    ("lines", "port"),
    [
        ("ENV PORT=80", 80),
        ("ENV PORT 80", 80),
        ("ENV PORT=http", None),
        ("ARG PORT=80", None),
        ("ENV PORT=80\nENV PORT=$UNKNOWN", None),
    ],
)
def test_the_port_variable_is_what_env_sets(lines: str, port: int | None) -> None:
    assert read(f"FROM scratch\n{lines}").port_variable == port


@pytest.mark.parametrize(
    ("lines", "has"),
    [
        ("HEALTHCHECK --interval=5s CMD wget -q localhost", True),
        ("HEALTHCHECK NONE", False),
        ("HEALTHCHECK CMD true\nHEALTHCHECK NONE", False),
        ("", False),
    ],
)
def test_a_healthcheck_is_noticed(lines: str, has: bool) -> None:
    assert read(f"FROM scratch\n{lines}").healthcheck is has


def test_a_base_image_named_by_an_argument_is_found_among_the_stages() -> None:
    text = "ARG KIND=slim\nFROM a AS full\nEXPOSE 80\nFROM b AS slim\nEXPOSE 81\nFROM $KIND"
    assert read(text).ports == (81,)


@given(
    st.text()
    | st.lists(
        st.tuples(st.sampled_from(["FROM", "ARG", "ENV", "EXPOSE", "HEALTHCHECK", "RUN <<A"]), st.text(max_size=9))
    ).map(lambda lines: "\n".join(" ".join(line) for line in lines))
)
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(1 <= port <= 65535 for port in read(text).ports)
