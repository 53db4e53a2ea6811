"""When a release counts as healthy, and what is said where it isn't."""

from __future__ import annotations

from collections.abc import Callable

import docker
import pytest

from tests.docker.app import app, crashing
from tests.docker.conftest import Branchline
from tests.repositories import Repo
from tests.waiting import eventually

SOON = {"branchline.toml": "[health]\ntimeout = 2\n"}


def failing(branchline: Branchline, repo: Repo) -> str:
    """Deploys what can't become healthy; returns what was said."""
    result = branchline.try_("deploy", cwd=repo.path)
    assert result.code == 1, result.err
    return result.err


def test_a_container_that_exits(branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]) -> None:
    said = failing(branchline, repository(crashing(tiny_base, "no database here", 7)))
    assert "the container exited with exit code 7 before it was healthy" in said
    assert "| no database here" in said


def test_a_container_whose_command_does_not_exist(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    said = failing(branchline, repository({"Dockerfile": f'FROM {tiny_base}\nEXPOSE 80\nCMD ["no-such-program"]\n'}))
    assert "no-such-program" in said


def test_an_application_that_listens_on_no_port(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository({"Dockerfile": f'FROM {tiny_base}\nEXPOSE 80\nCMD ["sleep", "600"]\n', **SOON})
    assert "it listens on no port at all; 80 was expected (EXPOSE in the Dockerfile)" in failing(branchline, repo)


def test_an_application_that_listens_on_loopback_only(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    said = failing(branchline, repository(app(python_base, "x", listen="127.0.0.1") | SOON))
    assert "it listens on port 8000 on loopback only" in said
    assert "0.0.0.0" in said


def test_an_application_that_listens_on_another_port(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    said = failing(branchline, repository(app(python_base, "x", listen_port=9001) | SOON))
    assert "it listens on port 9001, not on 8000 (EXPOSE in the Dockerfile)" in said
    assert "set port = 9001" in said
    assert "| the server starts" in said


def test_an_application_that_answers_an_error(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    settings = {"branchline.toml": '[health]\npath = "/missing"\ntimeout = 2\n'}
    said = failing(branchline, repository(app(python_base, "x") | settings))
    assert "HTTP /missing answered 404, not 2xx or 3xx" in said


def test_an_application_that_never_answers(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    settings = {"branchline.toml": '[health]\npath = "/slow?seconds=600"\ntimeout = 2\n'}
    assert "gave no answer within" in failing(branchline, repository(app(python_base, "x") | settings))


def test_an_application_that_runs_out_of_memory(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(
        {
            "Dockerfile": f'FROM {python_base}\nEXPOSE 80\nCMD ["python3", "-c", "x = bytearray(500_000_000)"]\n',
            "branchline.toml": '[limits]\nmemory = "32m"\n',
        }
    )
    said = failing(branchline, repo)
    assert "the container ran out of memory (its limit is 32m)" in said
    assert "limits.memory" in said


def test_the_images_healthcheck_counts_and_is_not_waited_for_a_whole_interval(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    repo = repository(
        app(python_base, "x", more="HEALTHCHECK --interval=30s CMD test -e /tmp/ready || ! touch /tmp/ready")
    )
    deployed = branchline.deploy(repo)
    assert deployed["seconds"]["healthy"] < 10


def test_a_failing_healthcheck_fails_the_release(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    later = {"branchline.toml": "[health]\ntimeout = 6\n"}  # a busy machine takes its time to run a command in it
    repo = repository(app(python_base, "x", more='HEALTHCHECK CMD ["sh", "-c", "exit 5"]') | later)
    assert "the HEALTHCHECK ended with exit code 5" in failing(branchline, repo)


def test_a_path_in_the_settings_wins_over_the_images_healthcheck(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    settings = {"branchline.toml": '[health]\npath = "/headers"\n'}
    repo = repository(app(python_base, "x", more="HEALTHCHECK CMD exit 1") | settings)
    assert branchline.deploy(repo)["state"] == "ready"


def test_redirects_are_healthy_and_the_host_is_the_environments_own(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    strict = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302 if self.headers["Host"] == "main--shop.localhost" else 400)
        self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("", 80), Handler).serve_forever()
"""
    dockerfile = f'FROM {python_base}\nCOPY s.py /\nEXPOSE 80\nCMD ["python3", "/s.py"]\n'
    assert branchline.deploy(repository({"Dockerfile": dockerfile, "s.py": strict}))["state"] == "ready"


@pytest.mark.parametrize(
    ("lines", "port", "rule"),
    [
        ("EXPOSE 9000", 9000, "EXPOSE in the Dockerfile"),
        ("EXPOSE 9000 8080 53/udp", 8080, "one of 2 that EXPOSE names"),
        ("ENV PORT=7000", 7000, "PORT in the image's environment"),
    ],
)
def test_the_rule_that_chose_the_port_is_told(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo], lines: str, port: int, rule: str
) -> None:
    dockerfile = f'FROM {tiny_base}\n{lines}\nCMD ["httpd", "-f", "-p", "{port}", "-h", "/etc"]\n'
    repo = repository({"Dockerfile": dockerfile, "branchline.toml": '[health]\npath = "/"\ntimeout = 1\n'})
    result = branchline.try_("deploy", cwd=repo.path)  # BusyBox answers 404 for a directory without an index
    assert f"port {port}: {rule}" in result.err


def test_an_image_without_a_port_is_refused_and_leaves_nothing(
    branchline: Branchline, tiny_base: str, repository: Callable[..., Repo]
) -> None:
    result = branchline.try_("deploy", cwd=repository({"Dockerfile": f"FROM {tiny_base}\nCMD sleep 9\n"}).path)
    assert result.code == 2
    assert "the image names no port" in result.err
    assert "EXPOSE" in result.err
    assert branchline.list(branchline.state) == []


def test_a_release_that_crashes_comes_back_by_itself_with_its_route(branchline: Branchline, shop: Repo) -> None:
    url = branchline.deploy(shop)["url"]
    crashed = branchline.get(url, "/crash")
    assert crashed.status_code in (502, 503)
    eventually(lambda: branchline.get(url).text == "main 1", "the engine starts it again", timeout=20)


def test_an_engine_restart_would_bring_it_back(branchline: Branchline, shop: Repo, engine: docker.DockerClient) -> None:
    branchline.deploy(shop)
    (found,) = engine.containers.list(filters={"label": f"branchline:platform={branchline.platform}"})
    assert found.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    address = found.attrs["NetworkSettings"]["Networks"].popitem()[1]["IPAddress"]
    found.restart(timeout=1)
    found.reload()
    assert found.attrs["NetworkSettings"]["Networks"].popitem()[1]["IPAddress"] == address
