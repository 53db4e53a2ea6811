"""What the router's configuration says, without running it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from branchline.engines.docker.router import config
from branchline.engines.docker.router.routes import Route
from branchline.environment import State
from branchline.errors import ConfigurationError
from branchline.settings.platform import PlatformSettings
from branchline.settings.platform import Router as RouterSettings

DIRECTORY = Path("/tmp/router")


def routes(count: int) -> list[Route]:
    return [
        Route(f"b{number}--shop.localhost", State.READY, f"10.213.0.{number}:80", f"b{number}")
        for number in range(count)
    ]


def test_the_order_of_the_routes_makes_no_difference() -> None:
    ordered = routes(120)
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert config.render(shuffled, PlatformSettings(), DIRECTORY) == config.render(
        ordered, PlatformSettings(), DIRECTORY
    )


@pytest.mark.parametrize("count", [0, 1, 100, 101, 150, 151, 500])
def test_every_host_is_in_one_map(count: int) -> None:
    rendered = json.loads(json.dumps(config.render(routes(count), PlatformSettings(), DIRECTORY)))
    server = rendered["apps"]["http"]["servers"][config.ENVIRONMENTS]
    handlers = [handler for route in server["routes"] for handler in route["handle"] if handler["handler"] == "map"]
    hosts = [mapping["input"] for handler in handlers for mapping in handler["mappings"]]
    assert sorted(hosts) == sorted(route.host for route in routes(count))


@pytest.mark.parametrize(
    ("domain", "bind", "ipv6", "expected"),
    [
        ("localhost", "", True, ["127.0.0.1:80", "[::1]:80"]),
        ("localhost", "", False, ["127.0.0.1:80"]),
        ("preview.example.com", "", True, [":80"]),
        ("preview.example.com", "192.0.2.1", True, ["192.0.2.1:80"]),
        ("localhost", "2001:db8::1", True, ["[2001:db8::1]:80"]),
        ("localhost", "[2001:db8::1]", True, ["[2001:db8::1]:80"]),
    ],
)
def test_it_listens_on_loopback_only_for_localhost(domain: str, bind: str, ipv6: bool, expected: list[str]) -> None:
    settings = PlatformSettings(domain=domain, router=RouterSettings(bind=bind))
    assert config.addresses(settings, 80, ipv6=ipv6) == expected


def test_a_directory_too_long_for_a_socket_is_refused() -> None:
    fits = Path("/", "d" * (107 - len("//admin.sock")))
    assert len(str(config.socket_path(fits))) == 107
    with pytest.raises(ConfigurationError, match="more than 107 bytes") as caught:
        config.socket_path(fits.with_name(fits.name + "d"))
    assert "BRANCHLINE_STATE_DIR" in caught.value.remedy


def test_one_port_for_http_and_https_is_refused() -> None:
    settings = PlatformSettings(router=RouterSettings(http_port=8080, https_port=8080, https="internal"))
    with pytest.raises(ConfigurationError, match="both 8080"):
        config.render([], settings, DIRECTORY)


def test_one_wildcard_certificate_serves_a_domain() -> None:
    settings = PlatformSettings(domain="preview.example.com", router=RouterSettings(https="internal"))
    hosts = ["a--shop.preview.example.com", "b--shop.preview.example.com", "a--shop.other.example.com"]
    rendered = config.render([Route(host, State.BUILDING) for host in hosts], settings, DIRECTORY)
    tls = json.loads(json.dumps(rendered))["apps"]["tls"]
    assert tls["certificates"]["automate"] == ["*.other.example.com", "*.preview.example.com"]
