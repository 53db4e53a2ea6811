"""What a branch's container can't reach, and what it isn't allowed."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from tests.docker.app import app
from tests.docker.conftest import Branchline
from tests.repositories import Repo


@pytest.fixture
def host_service() -> Iterator[int]:
    """A service of this machine that listens on every address."""
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def details(engine: docker.DockerClient, branchline: Branchline, branch: str) -> Any:
    labels = [f"branchline:platform={branchline.platform}", f"branchline:branch={branch}"]
    (found,) = engine.containers.list(filters={"label": labels})
    return found.attrs


def test_a_container_reaches_no_other_branch_no_host_service_and_no_metadata(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient, host_service: int
) -> None:
    shop.branch("other")
    url = branchline.deploy(shop)["url"]
    branchline.deploy(shop, "--branch", "other")
    networks = details(engine, branchline, "other")["NetworkSettings"]["Networks"]
    other = networks.popitem()[1]["IPAddress"]
    own = details(engine, branchline, "main")["NetworkSettings"]["Networks"].popitem()[1]

    def reaches(host: str, port: int) -> str:
        return branchline.get(url, f"/connect?host={host}&port={port}").text

    assert reaches(own["IPAddress"], 8000) == "open", "the probe itself doesn't work"
    assert reaches(other, 8000).startswith("closed")
    assert reaches(own["Gateway"], host_service).startswith("closed")
    assert reaches("172.17.0.1", host_service).startswith("closed")
    assert reaches(own["Gateway"], branchline.port).startswith("closed")
    assert reaches("169.254.169.254", 80).startswith("closed")
    assert reaches("169.254.170.2", 80).startswith("closed")


def test_a_container_has_no_privileges_no_ports_and_limits(
    branchline: Branchline, shop: Repo, engine: docker.DockerClient
) -> None:
    shop.commit(files={"branchline.toml": '[limits]\nmemory = "100m"\ncpus = 0.5\npids = 77\n'})
    url = branchline.deploy(shop)["url"]
    host = details(engine, branchline, "main")["HostConfig"]
    assert host["Privileged"] is False
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["CapDrop"] == ["ALL"]
    assert "CAP_NET_RAW" not in host["CapAdd"]
    assert "NET_RAW" not in host["CapAdd"]
    assert host["PortBindings"] in ({}, None)
    assert host["Binds"] in ([], None)
    assert host["Memory"] == host["MemorySwap"] == 100 * 1024 * 1024
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == 77
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert branchline.get(url).text == "main 1"


def test_common_ways_to_start_still_work(
    branchline: Branchline, python_base: str, repository: Callable[..., Repo]
) -> None:
    """As nginx, postgres and the like do: hand files to a user, become that user, listen below port 1024."""
    become = """\
import os
os.chown("/app/version", 1234, 1234)
os.setgroups([])
os.setgid(1234)
os.setuid(1234)
os.execvp("python3", ["python3", "/app/server.py", "0.0.0.0", "80"])
"""
    more = 'COPY become.py /\nENTRYPOINT ["python3", "/become.py"]'
    repo = repository(app(python_base, "as a user", port=80, more=more) | {"become.py": become})
    url = branchline.deploy(repo)["url"]
    assert branchline.get(url).text == "as a user"


def test_limits_above_the_operators_are_refused(branchline: Branchline, shop: Repo) -> None:
    shop.commit(files={"branchline.toml": '[limits]\nmemory = "64g"\n'})
    refused = branchline.try_("deploy", cwd=shop.path)
    assert refused.code == 2
    assert "limits.memory" in refused.err
