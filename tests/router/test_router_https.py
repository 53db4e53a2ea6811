"""HTTPS: from the router's own authority, and from an ACME server (Debian's `pebble`, Let's Encrypt's test server)."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from branchline.engines.docker.router.process import Router
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.settings.platform import PlatformSettings
from branchline.settings.platform import Router as RouterSettings
from tests.router.conftest import free_port
from tests.router.upstream import Upstream
from tests.waiting import eventually


def serve(router: Router, *routes: Route) -> None:
    with router.lock():
        router.apply(routes)


def get(port: int, host: str, trust: ssl.SSLContext, path: str = "/") -> httpx.Response:
    """Asks the router as a client that resolves `host` to loopback and trusts one authority."""
    with httpx.Client(http2=True, verify=trust) as client:
        return client.get(
            f"https://127.0.0.1:{port}{path}", headers={"Host": f"{host}:{port}"}, extensions={"sni_hostname": host}
        )


def internal(domain: str) -> PlatformSettings:
    return PlatformSettings(
        domain=domain,
        router=RouterSettings(bind="127.0.0.1", http_port=free_port(), https_port=free_port(), https="internal"),
    )


def own_authority(directory: Path) -> ssl.SSLContext:
    root = directory / "storage" / "pki" / "authorities" / "local" / "root.crt"
    return ssl.create_default_context(cafile=str(root))


@pytest.mark.parametrize("domain", ["localhost", "preview.example.com"])
def test_the_routers_own_authority_serves_each_host_with_http_2(
    directory: Path, upstream: Callable[[str], Upstream], domain: str
) -> None:
    settings = internal(domain)
    router = Router(settings, directory)
    port = settings.router.https_port
    serve(router, Route(f"a--shop.{domain}", State.READY, upstream("a").address))
    trust = own_authority(directory)

    answer = eventually(lambda: answered(lambda: get(port, f"a--shop.{domain}", trust)), "the certificate is there")
    assert (answer.status_code, answer.http_version, answer.text) == (200, "HTTP/2", "a")
    headers = json.loads(get(port, f"a--shop.{domain}", trust, "/headers").text)
    assert headers["X-Forwarded-Proto"] == "https"
    unknown = get(port, f"gone--shop.{domain}", trust)
    assert (unknown.status_code, unknown.headers["X-Robots-Tag"]) == (404, "noindex")


def test_one_certificate_serves_a_whole_domain(directory: Path, upstream: Callable[[str], Upstream]) -> None:
    settings = internal("preview.example.com")
    router = Router(settings, directory)
    server = upstream("a")
    hosts = [f"b{number}--shop.preview.example.com" for number in range(5)]
    serve(router, *(Route(host, State.READY, server.address) for host in hosts))
    trust = own_authority(directory)
    for host in hosts:
        eventually(lambda host=host: answered(lambda: get(settings.router.https_port, host, trust)), "it answers")
    assert len(list((directory / "storage" / "certificates").rglob("*.crt"))) == 1


def test_http_is_sent_to_https_on_its_port(directory: Path) -> None:
    settings = internal("localhost")
    router = Router(settings, directory)
    serve(router)
    answer = httpx.get(
        f"http://127.0.0.1:{settings.router.http_port}/path?q=1",
        headers={"Host": f"a--shop.localhost:{settings.router.http_port}"},
    )
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://a--shop.localhost:{settings.router.https_port}/path?q=1"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert set(router.status().addresses) == {
        f"127.0.0.1:{settings.router.http_port}",
        f"127.0.0.1:{settings.router.https_port}",
    }


def answered(ask: Callable[[], httpx.Response]) -> httpx.Response | None:
    """The answer, or None while there is no certificate yet."""
    try:
        return ask()
    except httpx.ConnectError:
        return None


class Pebble:
    """An ACME server that validates for real, by names that all lead to loopback."""

    def __init__(self, place: Path, trust: ssl.SSLContext, root: Path, port: int, management: int) -> None:
        self.log = place / "pebble.log"
        self.root = root
        self.directory = f"https://127.0.0.1:{port}/dir"
        self._management = f"https://127.0.0.1:{management}"
        self._trust = trust

    def ready(self) -> bool:
        try:
            return httpx.get(self.directory, verify=self._trust).status_code == 200
        except httpx.ConnectError:
            return False

    def issuer(self) -> ssl.SSLContext:
        """Trusts the certificates that it issues. Its authority is new at each start."""
        return ssl.create_default_context(cadata=httpx.get(f"{self._management}/roots/0", verify=self._trust).text)


@pytest.fixture
def start_pebble(tmp_path: Path) -> Iterator[Callable[[RouterSettings], Pebble]]:
    """Starts an ACME server that validates on the router's ports."""
    for program in ("pebble", "pebble-challtestsrv", "openssl"):
        if shutil.which(program) is None:
            pytest.fail(
                f"This test needs '{program}': apt-get install pebble openssl, as 'make setup' does", pytrace=False
            )
    key, root = tmp_path / "key.pem", tmp_path / "root.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {root}"
        " -subj /CN=pebble -addext subjectAltName=IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    processes: list[subprocess.Popen[bytes]] = []

    def start(settings: RouterSettings) -> Pebble:
        port, management, dns = free_port(), free_port(), free_port()
        configuration = tmp_path / "pebble.json"
        configuration.write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{port}",
                        "managementListenAddress": f"127.0.0.1:{management}",
                        "certificate": str(root),
                        "privateKey": str(key),
                        "httpPort": settings.http_port,
                        "tlsPort": settings.https_port,
                    }
                }
            )
        )
        pebble = Pebble(tmp_path, ssl.create_default_context(cafile=str(root)), root, port, management)
        names = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-defaultIPv6", "", "-management", ""]
        names += ["-http01", "", "-https01", "", "-tlsalpn01", ""]
        server = ["pebble", "-config", str(configuration), "-dnsserver", f"127.0.0.1:{dns}"]
        environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        with pebble.log.open("wb") as log:
            for command in (names, server):
                processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        try:
            eventually(pebble.ready, "pebble answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{pebble.log.read_text()}") from None
        return pebble

    yield start
    for process in processes:
        process.terminate()
        process.wait(10)


def test_an_acme_server_gives_each_host_its_certificate(
    directory: Path, upstream: Callable[[str], Upstream], start_pebble: Callable[[RouterSettings], Pebble]
) -> None:
    http_port, https_port = free_port(), free_port()
    pebble = start_pebble(RouterSettings(http_port=http_port, https_port=https_port))
    settings = PlatformSettings(
        domain="preview.example.com",
        router=RouterSettings(
            bind="127.0.0.1",
            https="acme",
            acme_directory=pebble.directory,
            acme_email="operator@example.com",
            acme_root=str(pebble.root),
            http_port=http_port,
            https_port=https_port,
        ),
    )
    router = Router(settings, directory)
    server = upstream("a")
    first = Route("a--shop.preview.example.com", State.READY, server.address)
    second = Route("b--shop.preview.example.com", State.READY, server.address)
    serve(router, first)
    trust = pebble.issuer()
    port = settings.router.https_port
    for route in (first, second):
        serve(router, first, route)
        answer = eventually(
            lambda route=route: answered(lambda: get(port, route.host, trust)), "the certificate is there", timeout=30
        )
        assert (answer.status_code, answer.text) == (200, "a")
