"""The demo: a small real repository whose branches get live URLs. `make demo` runs `up`, `make demo-down` runs `down`.

Everything that it shows is done by the command `branchline`, as a user would type it, and every claim is checked: the
exit code is 0 only if all of them held.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import docker.errors
from shop import BASE, BROKEN_DOCKERFILE, DOCKERFILE, base_image, page

HOME = Path(tempfile.gettempdir()) / f"branchline-demo-{os.getuid()}"
REPOSITORY, ORIGIN, SETTINGS = HOME / "shop", HOME / "shop.git", HOME / "platform.toml"
BRANCHLINE = Path(sys.executable).with_name("branchline")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "GIT_"))} | {
    "BRANCHLINE_CONFIG": str(SETTINGS),
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}
FEATURES = {
    "feature/login": ("Log in", "#3949ab"),
    "feature/dark-mode": ("Dark mode", "#212121"),
    "fix-checkout": ("A checkout that works", "#00796b"),
}
COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def say(text: str, style: str = "") -> None:
    print(f"\033[{style}m{text}\033[0m" if style and COLOURS else text, flush=True)


def chapter(text: str) -> None:
    say(f"\n== {text}", "1;36")


def claim(held: bool, text: str) -> None:
    """Says what was checked; ends the demo where it didn't hold."""
    if not held:
        say(f"  ✗ {text}", "1;31")
        raise SystemExit(1)
    say(f"  ✓ {text}", "32")


def branchline(*arguments: str, expected: int = 0) -> None:
    """Runs the command and shows it with all that it prints."""
    say(f"$ branchline {' '.join(arguments)}", "1")
    done = subprocess.run([BRANCHLINE, *arguments], cwd=REPOSITORY, env=ENVIRONMENT, check=False)
    if done.returncode != expected:
        claim(False, f"exit code {expected} was expected, and it was {done.returncode}")


def asked(*arguments: str) -> Any:
    """Runs the command with --json and returns the answer."""
    done = subprocess.run(
        [BRANCHLINE, *arguments, "--json"], cwd=REPOSITORY, env=ENVIRONMENT, check=True, capture_output=True
    )
    return json.loads(done.stdout)


def git(*arguments: str, cwd: Path = REPOSITORY) -> None:
    subprocess.run(["git", *arguments], cwd=cwd, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def commit(message: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (REPOSITORY / name).parent.mkdir(parents=True, exist_ok=True)
        (REPOSITORY / name).write_text(text)
    git("add", "--all")
    git("commit", "--quiet", "--message", message)


def get(url: str) -> tuple[int, str]:
    """Asks the router by the Host header, since not every resolver knows *.localhost."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Load:
    """Visitors that ask without a pause, and what they got."""

    def __init__(self, url: str, expected: tuple[str, str]) -> None:
        self.expected = expected
        self.seen = dict.fromkeys(expected, 0)
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(4)]

    def _ask(self, url: str) -> None:
        """On a kept connection, as a browser does it: one that was closed before an answer came is opened again."""
        host, _, port = url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        while not self._stop.is_set():
            kept = connection.sock is not None
            try:
                connection.request("GET", "/", headers={"Host": host})
                answer = connection.getresponse()
                status, text = answer.status, answer.read().decode()
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                if not kept:
                    self.failures.append(repr(error))
                continue
            known = next((part for part in self.expected if part in text), None)
            if status == 200 and known:
                self.seen[known] += 1
            else:
                self.failures.append(f"{status} {text[:60]}")
        connection.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def free_port() -> int:
    """8080 if it is free, otherwise any that is."""
    for port in (8080, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("no port is free")


def up() -> None:
    down(quiet=True)
    HOME.mkdir(mode=0o700)
    SETTINGS.write_text(
        f'# The operator\'s settings of the demo.\nplatform = "demo"\nstate_dir = "{HOME}/state"\n\n'
        f"[router]\nhttp_port = {free_port()}\n"
    )
    docker.from_env().api.import_image_from_data(base_image(), repository=BASE, tag="latest")
    make_repository()
    deploy_all()
    swap_under_load()
    break_a_commit()
    delete_a_branch()
    farewell()


def make_repository() -> None:
    chapter("A repository with main and three feature branches")
    REPOSITORY.mkdir()
    git("init", "--quiet", "--initial-branch=main")
    commit("The shop", {"Dockerfile": DOCKERFILE, "www/index.html": page("The shop", "This is main.", "#37474f")})
    for branch, (title, colour) in FEATURES.items():
        git("checkout", "--quiet", "-b", branch, "main")
        commit(title, {"www/index.html": page(title, f"This is {branch}.", colour)})
    git("checkout", "--quiet", "main")
    git("clone", "--quiet", "--bare", str(REPOSITORY), str(ORIGIN), cwd=HOME)
    git("remote", "add", "origin", str(ORIGIN))
    subprocess.run(["git", "log", "--all", "--oneline", "--graph"], cwd=REPOSITORY, env=ENVIRONMENT, check=True)


def deploy_all() -> None:
    chapter("Every branch gets a live URL")
    for branch in ("main", *FEATURES):
        branchline("deploy", "--branch", branch)
    for environment in asked("list"):
        status, text = get(environment["url"])
        branch = environment["branch"]
        claim(status == 200 and f"This is {branch}." in text, f"{environment['url']} answers with {branch}'s own page")


def swap_under_load() -> None:
    chapter("A push swaps the new release in, while visitors keep asking")
    git("checkout", "--quiet", "feature/login")
    commit("Log in by e-mail", {"www/index.html": page("Log in by e-mail", "This is the second release.", "#8e24aa")})
    url = asked("show", "feature/login")["url"]
    with Load(url, ("This is feature/login.", "This is the second release.")) as load:
        branchline("deploy")
    before, after = load.seen.values()
    served = f"{before} to the old release, {after} to the new"
    claim(not load.failures, f"{before + after} requests meanwhile, {len(load.failures)} failed: {served}")
    claim(before > 0 and after > 0, "both releases served, one after the other")


def break_a_commit() -> None:
    chapter("A broken commit: the old release goes on serving")
    commit("Use the new database", {"Dockerfile": BROKEN_DOCKERFILE})
    branchline("deploy", expected=1)
    branchline("show", "feature/login")
    status, text = get(asked("show", "feature/login")["url"])
    claim(status == 200 and "This is the second release." in text, "the URL still serves the release before it")


def delete_a_branch() -> None:
    chapter("A branch is deleted in git: reap removes all that it had")
    url = asked("show", "fix-checkout")["url"]
    git("branch", "--quiet", "-D", "fix-checkout")
    git("push", "--quiet", "origin", "--delete", "fix-checkout")
    branchline("reap")
    status, _ = get(url)
    claim(status == 404, f"{url} answers 404")
    left = docker.from_env().api.containers(
        all=True, filters={"label": ["branchline:platform=demo", "branchline:branch=fix-checkout"]}
    )
    claim(not left, "no container of it is left")


def farewell() -> None:
    chapter("What is up now")
    branchline("list")
    say("Open them:", "1")
    for environment in asked("list"):
        say(f"  {environment['url']}", "4")
    say("\nTry it yourself:", "1")
    say(f"  export BRANCHLINE_CONFIG={SETTINGS}; cd {REPOSITORY}; {BRANCHLINE} list")
    say("Stop it, and leave nothing:", "1")
    say("  make demo-down")


def down(*, quiet: bool = False) -> None:
    """Removes the demo's environments, router, repository and images. What isn't there is no error."""
    if SETTINGS.exists():
        for arguments in (["destroy", "--all"], ["router", "stop"]):
            subprocess.run(
                [BRANCHLINE, *arguments],
                cwd=HOME,
                env=ENVIRONMENT,
                check=True,
                stdout=subprocess.DEVNULL if quiet else None,
            )
    shutil.rmtree(HOME, ignore_errors=True)
    client = docker.from_env()
    with suppress(docker.errors.ImageNotFound):
        client.images.remove(BASE)
    left = client.api.containers(all=True, filters={"label": "branchline:platform=demo"})
    if left:
        raise SystemExit(f"containers of the demo are left: {left}")
    if not quiet:
        say("the demo is gone: no container, network, image, process or file of it is left")


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]]()
