"""The demo: a small real repository whose branches get live URLs. `make demo` runs `up`, `make demo-down` runs `down`.

Everything that it shows is done by the command `branchline`, as a user would type it, and every claim is checked: the
exit code is 0 only if all of them held.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import docker
import docker.errors
from narration import chapter, claim, say
from shop import base_image, broken_dockerfile, page
from visitors import Door, Load
from workplace import BRANCHLINE, Workplace

BASE = "branchline-demo-base"
HOME = Path(tempfile.gettempdir()) / f"branchline-demo-{os.getuid()}"
SHOP = Workplace(HOME)
FEATURES = {
    "feature/login": ("Log in", "#3949ab"),
    "feature/dark-mode": ("Dark mode", "#212121"),
    "fix-checkout": ("A checkout that works", "#00796b"),
}


def door(url: str) -> Door:
    """The router, whose port is in the URL."""
    return Door(urlsplit(url).port or 80)


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
    SHOP.settings.write_text(
        f'# The operator\'s settings of the demo.\nplatform = "demo"\nstate_dir = "{HOME}/state"\n\n'
        f"[router]\nhttp_port = {free_port()}\n"
    )
    docker.from_env().api.import_image_from_data(base_image(), repository=BASE, tag="latest")
    chapter("A repository with main and three feature branches")
    SHOP.make_repository(BASE, FEATURES)
    deploy_all()
    swap_under_load()
    break_a_commit()
    delete_a_branch()
    farewell()


def deploy_all() -> None:
    chapter("Every branch gets a live URL")
    for branch in ("main", *FEATURES):
        SHOP.branchline("deploy", "--branch", branch)
    for environment in SHOP.asked("list"):
        status, text = door(environment["url"]).get(environment["url"])
        branch = environment["branch"]
        claim(status == 200 and f"This is {branch}." in text, f"{environment['url']} answers with {branch}'s own page")


def swap_under_load() -> None:
    chapter("A push swaps the new release in, while visitors keep asking")
    SHOP.git("checkout", "--quiet", "feature/login")
    SHOP.commit(
        "Log in by e-mail", {"www/index.html": page("Log in by e-mail", "This is the second release.", "#8e24aa")}
    )
    url = SHOP.url("feature/login")
    with Load(door(url), url, ("This is feature/login.", "This is the second release.")) as load:
        SHOP.branchline("deploy")
    before, after = load.seen.values()
    served = f"{before} to the old release, {after} to the new"
    claim(not load.failures, f"{before + after} requests meanwhile, {len(load.failures)} failed: {served}")
    claim(before > 0 and after > 0, "both releases served, one after the other")


def break_a_commit() -> None:
    chapter("A broken commit: the old release goes on serving")
    SHOP.commit("Use the new database", {"Dockerfile": broken_dockerfile(BASE)})
    SHOP.branchline("deploy", expected=1)
    SHOP.branchline("show", "feature/login")
    url = SHOP.url("feature/login")
    status, text = door(url).get(url)
    claim(status == 200 and "This is the second release." in text, "the URL still serves the release before it")


def delete_a_branch() -> None:
    chapter("A branch is deleted in git: reap removes all that it had")
    url = SHOP.url("fix-checkout")
    SHOP.delete_branch("fix-checkout")
    SHOP.branchline("reap")
    status, _ = door(url).get(url)
    claim(status == 404, f"{url} answers 404")
    left = docker.from_env().api.containers(
        all=True, filters={"label": ["branchline:platform=demo", "branchline:branch=fix-checkout"]}
    )
    claim(not left, "no container of it is left")


def farewell() -> None:
    chapter("What is up now")
    SHOP.branchline("list")
    say("Open them:", "1")
    for environment in SHOP.asked("list"):
        say(f"  {environment['url']}", "4")
    say("\nTry it yourself:", "1")
    say(f"  export BRANCHLINE_CONFIG={SHOP.settings}; cd {SHOP.repository}; {BRANCHLINE} list")
    say("Stop it, and leave nothing:", "1")
    say("  make demo-down")


def down(*, quiet: bool = False) -> None:
    """Removes the demo's environments, router, repository and images. What isn't there is no error."""
    if SHOP.settings.exists():
        for arguments in (["destroy", "--all"], ["router", "stop"]):
            subprocess.run(
                [BRANCHLINE, *arguments],
                cwd=HOME,
                env=SHOP.environment,
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
