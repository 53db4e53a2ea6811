"""The firewall's own rules, in network namespaces whose packet filters nobody else touches."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from branchline.engines.docker import firewall

CLOSE_AND_TELL = """
from branchline.engines.docker import firewall
print(firewall.close("p"), firewall.open_again("p"), firewall.state("p"))
"""


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Namespace:
    """A network namespace of our own, with a packet filter of its own, so that its whole content can be compared."""

    name: str
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.name, *command, environment=self.environment)

    def call(self, function: str, platform: str = "p") -> str:
        """What a function of the firewall's returns, for `state` its status, when called in there."""
        code = f"from branchline.engines.docker import firewall; print(firewall.{function}({platform!r}))"
        said = self.run(sys.executable, "-c", code).strip()
        return said.partition("status=<Status.")[2].partition(":")[0] if function == "state" else said

    def rules(self) -> list[str]:
        """Everything in both packet filters, without counters."""
        return [
            f"{command}: {line.partition(' [')[0]}"
            for command in ("iptables", "ip6tables")
            for line in self.run(f"{command}-save").splitlines()
            if not line.startswith("#")
        ]


@pytest.fixture(params=["nft", "legacy"])
def namespace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Namespace]:
    """With one of the two programs that call themselves iptables, and rules such as Docker and others make."""
    for command in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (tmp_path / f"{command}{suffix}").symlink_to(f"/usr/sbin/xtables-{request.param}-multi")
    name = f"bt{secrets.token_hex(5)}"
    run("ip", "netns", "add", name)
    try:
        namespace = Namespace(name, {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
        for rule in (
            "-N DOCKER-USER",
            "-A FORWARD -j DOCKER-USER",
            "-A DOCKER-USER -j RETURN",
            "-A INPUT -i lo -j ACCEPT",
        ):
            namespace.run("iptables", *rule.split())
        namespace.run("ip6tables", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
        yield namespace
    finally:
        run("ip", "netns", "delete", name)


def test_opening_again_leaves_every_rule_as_it_was(namespace: Namespace) -> None:
    before = namespace.rules()
    assert namespace.call("open_again") == "True", "missing is no error"
    assert namespace.rules() == before
    assert namespace.call("close", "p") == namespace.call("close", "q") == namespace.call("close", "p") == "True"
    assert namespace.rules() != before

    assert namespace.call("open_again", "q") == "True"
    assert namespace.call("state", "p") == "CLOSED"
    assert namespace.call("state", "q") == "OPEN"
    assert namespace.call("open_again", "p") == "True"
    assert namespace.rules() == before


def test_closing_twice_changes_nothing(namespace: Namespace) -> None:
    namespace.call("close", "p")
    namespace.call("close", "q")
    once = namespace.rules()
    namespace.call("close", "p")
    namespace.call("close", "q")
    assert namespace.rules() == once


def test_whatever_somebody_changed_is_repaired(namespace: Namespace) -> None:
    namespace.call("close")
    closed = namespace.rules()
    jump = next(rule for rule in closed if rule.startswith("iptables: -A INPUT -i bl")).split()[2:]
    chain = jump[-1]
    for damage in (
        ("-F", chain),
        ("-D", chain, "1"),
        ("-A", chain, "-j", "ACCEPT"),
        ("-D", *jump),
        ("-A", *jump),
        ("-A", "FORWARD", "-j", chain.replace("-IN", "-FWD")),
        ("-F", "DOCKER-USER"),
    ):
        namespace.run("iptables", *damage)
        assert namespace.call("state") == "OPEN", damage
        assert namespace.call("close") == "True", damage
        assert namespace.call("state") == "CLOSED", damage
        if damage == ("-F", "DOCKER-USER"):  # Docker's own rule isn't ours to repair
            namespace.run("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
        assert namespace.rules() == closed, damage


def test_a_rule_that_comes_before_ours_is_overtaken(namespace: Namespace) -> None:
    namespace.call("close")
    namespace.run("iptables", "-I", "INPUT", "1", "-p", "tcp", "-j", "ACCEPT")
    assert namespace.call("state") == "OPEN"
    assert namespace.call("close") == "True"
    first, second, *_ = [rule for rule in namespace.rules() if rule.startswith("iptables: -A INPUT")]
    assert "-j BRANCHLINE-" in first
    assert second == "iptables: -A INPUT -p tcp -j ACCEPT"


def test_without_dockers_chain_forwarded_packets_are_filtered_all_the_same(namespace: Namespace) -> None:
    for command in ("-F FORWARD", "-F DOCKER-USER", "-X DOCKER-USER"):
        namespace.run("iptables", *command.split())
    before = namespace.rules()
    assert namespace.call("close") == "True"
    assert any(rule.startswith("iptables: -A FORWARD -i bl") for rule in namespace.rules())

    for command in ("-N DOCKER-USER", "-A FORWARD -j DOCKER-USER"):
        namespace.run("iptables", *command.split())
    assert namespace.call("state") == "OPEN"
    assert namespace.call("close") == "True"
    rules = namespace.rules()
    assert any(rule.startswith("iptables: -A DOCKER-USER -i bl") for rule in rules)
    assert not any(rule.startswith("iptables: -A FORWARD -i bl") for rule in rules)

    namespace.call("open_again")
    for command in ("-F FORWARD", "-X DOCKER-USER"):
        namespace.run("iptables", *command.split())
    assert namespace.rules() == before


def test_processes_that_close_at_once_leave_one_jump_each(namespace: Namespace) -> None:
    code = "from branchline.engines.docker import firewall; print(firewall.close('p'), firewall.close('q'))"
    processes = [
        subprocess.Popen(
            ["ip", "netns", "exec", namespace.name, sys.executable, "-c", code],
            env=namespace.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["True True\n"] * 8
    jumps = Counter(rule for rule in namespace.rules() if "-j BRANCHLINE-" in rule)
    assert len(jumps) == 8, "two platforms, two chains each, in two packet filters"
    assert set(jumps.values()) == {1}
    assert namespace.call("state", "p") == namespace.call("state", "q") == "CLOSED"


def test_without_rights_nothing_is_changed_and_the_state_is_unknown() -> None:
    said = run("setpriv", "--bounding-set=-net_admin", sys.executable, "-c", CLOSE_AND_TELL)
    assert said.startswith("False False FirewallState(status=<Status.UNKNOWN: 'unknown'>")
    assert "only root may read and change the firewall" in said


def test_without_iptables_the_state_is_open_and_the_remedy_names_it(tmp_path: Path) -> None:
    script = f'mount --bind {tmp_path} /usr/sbin && PATH={tmp_path} exec {sys.executable} -c "$0"'
    said = run("unshare", "--mount", "sh", "-c", script, CLOSE_AND_TELL)
    assert said.startswith("False False FirewallState(status=<Status.OPEN: 'open'>")
    assert "install iptables" in said


def test_bridge_names_fit_linux_and_start_with_their_platforms_prefix() -> None:
    names = {
        firewall.bridge_name(platform, project, slug)
        for platform in ("a", "p" * 20)
        for project in ("shop", "p" * 25)
        for slug in ("main", "s" * 36)
    }
    assert len(names) == 8
    assert all(len(name) == 15 and name.isalnum() for name in names)
    assert firewall.bridge_name("a", "shop", "main").startswith(firewall.bridge_prefix("a"))
    assert not firewall.bridge_name("b", "shop", "main").startswith(firewall.bridge_prefix("a"))
    # Environments that run keep the names they were made with, so these must never change.
    assert firewall.bridge_prefix("default") == "bl37a8e"
    assert firewall.bridge_name("default", "shop", "main") == "bl37a8ed7dc4e8d"
