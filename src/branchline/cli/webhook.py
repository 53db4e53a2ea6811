"""`branchline webhook`: forges say that a branch is gone, and its environment goes."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import click

from branchline.cancellation import Cancellation
from branchline.cli.announcing import announcing, of_environment
from branchline.cli.options import json_option, open_source, repo_option
from branchline.cli.output import JSON, hang, paint, print_json, sign
from branchline.errors import BranchlineError, ConfigurationError
from branchline.platform import assemble, forges, listening
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_platform

if TYPE_CHECKING:
    from branchline.environment import Environment
    from branchline.events import Publish
    from branchline.platform import Listening
    from branchline.reception import Removal
    from branchline.telling import Forge
    from branchline.web import Answer

_PATIENCE = 20.0
"""Seconds that what is under way gets when the receiver is stopped."""
_EVENTS = {
    "github": "'Branch or tag deletion' and 'Pull requests', with the content type application/json",
    "gitlab": "'Push events' and 'Merge request events'",
    "bitbucket": "'Repository push', and 'Merged' and 'Declined' of pull requests",
    "gitea": "'Delete', 'Push' and 'Pull request', with the content type application/json",
}
"""What a forge's page calls the events that are of use."""


@click.group()
def webhook_command() -> None:
    """Have a branch's environment removed when the forge says that the branch is deleted.

    On Amazon ECS, 'branchline aws bootstrap' makes what listens. On one machine, 'branchline webhook serve' listens.
    """


@webhook_command.command("install")
@repo_option
@json_option
def install_command(repo: str | None, as_json: bool) -> None:
    """Make the webhook in the repository's forge, or bring it up to date; without a token, say what to paste there."""
    settings = read_platform()
    repository = _repository(settings, repo)
    name = _forge_name(settings, repository)
    listener = listening(settings)
    if not listener.public:
        raise ConfigurationError(
            "forges can't reach this machine: webhook.url is not set",
            remedy="set it in platform.toml to the URL by which they reach 'branchline webhook serve'",
        )
    url, secret = f"{listener.url}/webhooks/{name}", listener.secrets.read()[0]
    forge = _forge(settings, repository)
    if forge is None:
        if as_json:
            print_json({"forge": name, "url": url, "outcome": "paste", "secret": secret, "events": _EVENTS[name]})
            return
        click.echo(f"There is no token for {name} in platform.toml. In the repository's settings, add a webhook:\n")
        for label, text in (("URL", url), ("Secret", secret), ("Events", _EVENTS[name])):
            hang(f"  {paint(f'{label:<8}', bold=True)}", text)
        return
    outcome = forge.install_hook(repository, url, secret)
    if as_json:
        print_json({"forge": name, "url": url, "outcome": outcome})
        return
    click.echo(paint(f"{repository}: webhook {outcome}", bold=True))
    click.echo(paint(f"  {url}"))


@webhook_command.command("test")
@json_option
def test_command(as_json: bool) -> None:
    """Send a signed ping the whole way, and one with a wrong signature, and say who answered what."""
    settings = read_platform()
    listener = listening(settings)
    findings = _findings(settings, listener)
    failed = any(not finding["ok"] for finding in findings)
    if as_json:
        print_json({"url": listener.url, "ok": not failed, "findings": findings})
    else:
        for finding in findings:
            colour = "green" if finding["ok"] else "red"
            hang(f"{paint(sign('ok' if finding['ok'] else 'failure'), fg=colour)} ", finding["finding"])
            if finding["remedy"]:
                hang(f"  {sign('remedy')} ", finding["remedy"])
    if failed:
        sys.exit(1)


@webhook_command.group("secret")
def secret_command() -> None:
    """What forges sign with."""


@secret_command.command("show")
@json_option
def show_command(as_json: bool) -> None:
    """Print the present secret, to be pasted where no token of ours leads."""
    secret = listening(read_platform()).secrets.read()[0]
    if as_json:
        print_json({"secret": secret})
    else:
        click.echo(secret)


@secret_command.command("rotate")
@repo_option
@json_option
def rotate_command(repo: str | None, as_json: bool) -> None:
    """Make a new secret. The one before stays valid until the next rotation, so that no delivery is refused meanwhile.

    The repository's own webhook gets it at once, where there is a token for its forge.
    """
    settings = read_platform()
    listener = listening(settings)
    source = open_source(settings, repo)
    repository = source.url if source is not None else ""
    forge = _forge(settings, repository) if repository and listener.public else None
    secret = listener.secrets.rotate()[0]
    outcome = ""
    if forge is not None:
        url = f"{listener.url}/webhooks/{_forge_name(settings, repository)}"
        try:
            outcome = forge.install_hook(repository, url, secret)
        except BranchlineError as error:
            raise BranchlineError(
                f"the secret is a new one, but the webhook of {repository} hasn't got it: {error.message}",
                remedy="run 'branchline webhook install'; to rotate again would end the one before, which it still has",
            ) from error
    if as_json:
        print_json({"rotated": True, "repository": repository or None, "outcome": outcome or None})
        return
    click.echo("the secret is a new one; the one before stays valid until the next rotation")
    if outcome:
        click.echo(paint(f"{repository}: webhook {outcome}"))
    hang(
        f"{sign('remedy')} ",
        "run 'branchline webhook install' in each other repository, to give its webhook the new one",
    )


@webhook_command.command("serve")
def serve_command() -> None:
    """Listen to forges on this machine, and remove what deleted branches had, until it is stopped."""
    settings = read_platform()
    if settings.engine == "ecs":
        raise ConfigurationError(
            "on Amazon ECS a Lambda function listens", remedy="'branchline aws bootstrap --webhook' makes it"
        )
    platform = assemble(settings)
    listener = listening(settings)
    listener.secrets.read()  # what is wrong with them is said now

    from waitress.server import create_server

    from branchline import reception
    from branchline.cli.receiver import Receiver
    from branchline.forges.payload import LARGEST

    def remove(removal: Removal, cancellation: Cancellation) -> dict[str, tuple[str, ...]] | None:
        with announcing(settings) as announcements:

            def hear(environment: Environment) -> Publish:
                return announcements.listening(lambda _: None, lambda: {environment.id: of_environment(environment)})

            forge = _forge(settings, removal.repository[0])
            return reception.remove(platform, removal, forge, hear, cancellation)

    receiver = Receiver(
        platform=settings.platform,
        fork_label=settings.webhook.fork_label,
        secrets=listener.secrets,
        remove=remove,
        say=_say,
    )
    try:
        server = create_server(
            receiver,
            host=settings.webhook.bind,
            port=settings.webhook.port,
            threads=8,
            max_request_body_size=LARGEST + 1,
            channel_timeout=20,
            connection_limit=200,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no address"
        raise ConfigurationError(
            f"can't listen on {settings.webhook.bind}:{settings.webhook.port}: {reason}",
            remedy="stop what listens there, or set webhook.bind and webhook.port in platform.toml",
        ) from error
    receiver.start()
    _say(f"listening on http://{settings.webhook.bind}:{settings.webhook.port}/webhooks/FORGE")
    try:
        server.run()
    finally:
        _say("stopping")
        receiver.stop(_PATIENCE)
        server.close()


def _say(line: str) -> None:
    with suppress(OSError):  # nobody reads the log any more, or its disk is full: branches are removed nevertheless
        click.echo(f"{time.strftime('%H:%M:%S')} {paint(line, err=True)}", err=True)


def _repository(settings: PlatformSettings, repo: str | None) -> str:
    """The URL of the repository that a command is about."""
    source = open_source(settings, repo)
    if source is None:
        raise ConfigurationError(
            "which repository? This directory is in none", remedy="go to it, or give --repo PATH_OR_URL"
        )
    return source.url


def _forge(settings: PlatformSettings, repository: str) -> Forge | None:
    """The repository's forge, where there is a token for it."""
    from branchline.forges.api import forge_of

    return forge_of(repository, forges(settings))


def _forge_name(settings: PlatformSettings, repository: str) -> str:
    """What the repository's forge is called.

    Raises:
        ConfigurationError: it is on none that is known.
    """
    from branchline.forges.api.location import path_on

    homes = {
        "github": settings.github.url,
        "gitlab": settings.gitlab.url,
        "bitbucket": "https://bitbucket.org",
        "gitea": settings.gitea.url,
    }
    for name, home in homes.items():
        if home and path_on(repository, home):
            return name
    raise ConfigurationError(
        f"{repository} is on no forge that is known",
        remedy="set the forge's url in platform.toml: github.url, gitlab.url or gitea.url",
    )


def _findings(settings: PlatformSettings, listener: Listening) -> list[JSON]:
    """What each part of the way answers; the first that fails ends it."""
    from branchline import web
    from branchline.forges import pinging
    from branchline.signing import new_secret

    secret = listener.secrets.read()[0]
    url = f"{listener.url}/webhooks/{pinging.FORGE}"

    def send(signed_with: str) -> Answer:
        headers, body = pinging.ping(signed_with)
        return web.ask("POST", url, headers=headers, data=body, timeout=15, attempts=1, accept=tuple(range(300, 600)))

    begun = time.monotonic()
    try:
        answer = send(secret)
    except BranchlineError as error:
        return [_finding(False, f"nobody answers: {error.message}", _nobody(settings))]
    took = f"{time.monotonic() - begun:.2f} s"
    said = _said(answer)
    if "status" not in said and "error" not in said:
        return [_finding(False, f"something answers {answer.status}, but not Branchline", _stranger(answer.status))]
    if answer.status == 401:
        remedy = "a secret that was just rotated counts after a minute at the latest; then run it again"
        return [_finding(False, f"Branchline answers in {took}, and doesn't take the signature", remedy)]
    if said.get("status") != "pong":
        why = said.get("error") or said.get("reason") or said.get("status")
        return [_finding(False, f"Branchline answers {answer.status}: {why}", "see the log of what listens")]
    found = [_finding(True, f"{said.get('door')} answers in {took}"), _finding(True, "it takes our signature")]
    same = said.get("platform") == settings.platform
    found.append(_finding(same, f"it is the platform {said.get('platform')}", "" if same else "correct webhook.url"))
    refused = send(new_secret()).status
    wrong = "a wrong signature is refused" if refused == 401 else f"a wrong signature is answered with {refused}"
    return [*found, _finding(refused == 401, wrong, "" if refused == 401 else "a defect: please report it")]


def _finding(ok: bool, finding: str, remedy: str = "") -> JSON:
    return {"ok": ok, "finding": finding, "remedy": remedy}


def _said(answer: Answer) -> JSON:
    try:
        said: object = answer.json()
    except BranchlineError:
        return {}
    return cast("JSON", said) if isinstance(said, dict) else {}


def _nobody(settings: PlatformSettings) -> str:
    if settings.engine == "ecs":
        return "check the network, and webhook.url if it is set; 'branchline aws bootstrap' makes what listens"
    return "is 'branchline webhook serve' running?"


def _stranger(status: int) -> str:
    """API Gateway's own answers: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting.html"""
    if status == 429:
        return "API Gateway takes no more just now: try again"
    if status in (500, 502, 503, 504):
        return "the function fails: see its log in CloudWatch; 'branchline aws bootstrap' brings its code up to date"
    return "check webhook.url, if it is set; 'branchline aws bootstrap' makes the path anew"
