"""`branchline aws`: what a platform on Amazon ECS stands on."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import click

from branchline import naming
from branchline.cancellation import Cancellation
from branchline.cli.options import json_option
from branchline.cli.output import hang, paint, print_json, sign
from branchline.cli.stack_progress import stack_progress
from branchline.platform import assemble, aws, told
from branchline.settings import patterns
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_platform

if TYPE_CHECKING:
    from branchline.engines.ecs.bootstrap import Made
    from branchline.engines.ecs.stacks import Change
    from branchline.engines.ecs.templates import Template

RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Days, as CloudWatch Logs takes them:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""


@click.group()
def aws_command() -> None:
    """Make, check or remove what a platform on Amazon ECS stands on: network, load balancers, cluster, roles.

    Account and region are those of the AWS command line, unless platform.toml names others.
    """


def _checked_name(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    return None if name is None else naming.check_name(name, "platform's name", naming.PLATFORM_LENGTH)


def _checked_domain(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    if name is None or (re.match(patterns.DOMAIN, name) and len(name) <= patterns.DOMAIN_LENGTH):
        return name
    raise click.BadParameter(f"expected a DNS name in lower case, such as preview.example.com, got {name!r}")


def _items(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """What is listed with commas between."""
    return None if text is None else tuple(item.strip() for item in text.split(",") if item.strip())


def _checked_retention(_context: click.Context, _parameter: click.Parameter, days: int | None) -> int | None:
    if days is None or days in RETENTIONS:
        return days
    raise click.BadParameter(f"CloudWatch Logs keeps for {', '.join(map(str, RETENTIONS))} days, not for {days}")


def _checked_instances(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[int, int] | None:
    if text is None:
        return None
    if not (found := re.fullmatch(r"([0-9]{1,4})-([0-9]{1,4})", text)):
        raise click.BadParameter(f"expected the least and the most, such as 1-20, got {text!r}")
    least, most = int(found.group(1)), int(found.group(2))
    if not least <= most > 0:
        raise click.BadParameter(f"expected the least and then the most, such as 1-20, got {text!r}")
    return least, most


_name_option = click.option(
    "--name", metavar="NAME", callback=_checked_name, help="The platform; otherwise that of the settings."
)


@aws_command.command("bootstrap")
@_name_option
@click.option("--domain", metavar="DOMAIN", callback=_checked_domain, help="Every environment gets its host below it.")
@click.option(
    "--dns",
    type=click.Choice(["wildcard", "record"]),
    help="One record for all, or one for each; where Route 53 serves the domain.",
)
@click.option("--certificate", metavar="ARN", help="A certificate for *.DOMAIN, in place of one that is made.")
@click.option(
    "--capacity",
    type=click.Choice(["fargate-spot", "fargate", "ec2-spot", "ec2"]),
    help="What containers run on; fargate-spot unless said.",
)
@click.option(
    "--instances", metavar="MIN-MAX", callback=_checked_instances, help="On EC2, how many there are; 0-20 unless said."
)
@click.option("--vpc", metavar="ID", help="An existing VPC, in place of one that is made.")
@click.option("--subnets", metavar="A,B", callback=_items, help="Its public subnets, in two zones or more.")
@click.option(
    "--shards", type=click.IntRange(1, 50), metavar="N", help="Load balancers; each takes up to 100 environments."
)
@click.option(
    "--log-retention", type=int, metavar="DAYS", callback=_checked_retention, help="Days that logs are kept; 14."
)
@click.option(
    "--secrets",
    metavar="A,B",
    callback=_items,
    help="Names (* for anything) or ARNs of secrets that environments may have; those in 'preview/' unless said.",
)
@click.option(
    "--webhook/--no-webhook",
    default=None,
    help="Whether a forge's word that a branch is gone removes its environment; a new platform listens unless said.",
)
@click.option("--alarm-topic", metavar="ARN", help="An SNS topic that hears of what couldn't be removed.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@json_option
def bootstrap_command(
    name: str | None,
    domain: str | None,
    dns: str | None,
    certificate: str | None,
    capacity: str | None,
    instances: tuple[int, int] | None,
    vpc: str | None,
    subnets: tuple[str, ...] | None,
    shards: int | None,
    log_retention: int | None,
    secrets: tuple[str, ...] | None,
    webhook: bool | None,
    alarm_topic: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make what a platform stands on, or change it; what isn't said stays as it is.

    It can be interrupted and run again at any point.
    """
    settings = _settings(name)

    from branchline.engines.ecs import bootstrap
    from branchline.engines.ecs.base_plan import Wanted, make_plan

    account = aws(settings)
    wanted = Wanted(
        domain=domain,
        dns=dns,
        certificate=certificate,
        capacity=capacity,
        instances=instances,
        vpc=vpc,
        subnets=subnets or (),
        shards=shards,
        log_retention=log_retention,
        secrets=secrets,
        webhook=webhook,
        alarm_topic=alarm_topic,
        fork_label=settings.webhook.fork_label,
    )
    plan = make_plan(account, settings.platform, wanted)
    if dry_run:
        _show_changes(settings.platform, bootstrap.preview(account, plan, Cancellation()), as_json=as_json)
        return
    with stack_progress() as report:
        made = bootstrap.bootstrap(account, plan, report, Cancellation(), told(settings))
    if as_json:
        print_json(
            {
                "platform": made.base.platform,
                "region": account.region,
                "domain": made.base.domain,
                "scheme": made.base.scheme,
                "load_balancer": made.base.load_balancer.dns,
                "webhook": made.endpoint or None,
                "stacks": made.outcomes,
                "notes": list(made.notes),
            }
        )
    else:
        _show_made(settings, made, account.region)


@aws_command.command("teardown")
@_name_option
@click.option("--with-environments", is_flag=True, help="Destroy the environments that live, too.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before; without a terminal nobody is asked.")
@json_option
def teardown_command(name: str | None, with_environments: bool, yes: bool, as_json: bool) -> None:
    """Remove all that a platform has: stacks, image repositories, logs. Again and again without error."""
    settings = _settings(name)

    from branchline.engines.ecs import teardown

    account = aws(settings)
    if not yes and not as_json and sys.stdin.isatty():
        question = f"Remove all that the platform {settings.platform} has in {account.region}?"
        if not click.confirm(question, err=True):
            click.echo("nothing was removed")
            return
    with stack_progress() as report:
        removed = teardown.teardown(
            account,
            settings.platform,
            report,
            Cancellation(),
            (lambda: _destroy_all(settings)) if with_environments else None,
        )
    if as_json:
        print_json({"platform": settings.platform, "region": account.region, "removed": removed})
        return
    there = f"{settings.platform}: removed" if removed else f"{settings.platform}: there was nothing to remove"
    click.echo(paint(there, bold=True))
    for line in removed:
        click.echo(paint(f"  {line}"))


@aws_command.command("doctor")
@_name_option
@json_option
def doctor_command(name: str | None, as_json: bool) -> None:
    """Check credentials, permissions, the base, and quotas against use; a failure makes it exit 1."""
    from branchline.cli.doctor import report
    from branchline.platform import aws_checks

    report(aws_checks(_settings(name)), as_json=as_json)


@aws_command.command("template")
@click.argument("which", type=click.Choice(["base", "load-balancer", "capacity-ec2", "webhook"]), default="base")
def template_command(which: Template) -> None:
    """Print a CloudFormation template, to be deployed by other tools."""
    from branchline.engines.ecs import templates

    click.echo(templates.text(which), nl=False)


def _settings(name: str | None) -> PlatformSettings:
    """The operator's settings, for the platform that was named."""
    from msgspec.structs import replace

    settings = read_platform()
    return replace(settings, engine="ecs", platform=name or settings.platform)


def _destroy_all(settings: PlatformSettings) -> list[str]:
    """Destroys every environment; returns what they had."""
    from branchline import lifecycle
    from branchline.cli.progress import progress

    platform = assemble(settings)
    removed: list[str] = []
    with progress(quiet=True) as publish:
        for environment in platform.engine.environments():
            resources = lifecycle.destroy(platform, environment.id, publish, Cancellation())
            removed += [f"{line} of {environment.id.branch}" for line in resources]
    return removed


def _show_changes(platform: str, changes: dict[str, list[Change]], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "platform": platform,
                "changes": {
                    stack: [
                        {
                            "action": change.action.lower(),
                            "resource": change.resource,
                            "type": change.kind,
                            "replaces": change.replaces,
                        }
                        for change in listed
                    ]
                    for stack, listed in changes.items()
                },
            }
        )
        return
    for stack, listed in changes.items():
        click.echo(paint(f"{stack}: changes" if listed else f"{stack}: unchanged", bold=True))
        for change in listed:
            replaces = ", may be replaced" if change.replaces else ""
            click.echo(paint(f"  {change.action.lower():<7} {change.resource}  ({change.kind}{replaces})"))


def _show_made(settings: PlatformSettings, made: Made, region: str) -> None:
    for stack, outcome in made.outcomes.items():
        click.echo(paint(f"{stack}: {outcome}", bold=True))
    for note in made.notes:
        hang(f"  {paint(sign('remedy'))} ", note)
    if made.endpoint:
        hang(f"  {paint(sign('remedy'))} ", "have deleted branches removed: branchline webhook install")
    click.echo("\nFor platform.toml:\n")
    click.echo(paint(f'engine = "ecs"\nplatform = "{made.base.platform}"\n\n[ecs]\nregion = "{region}"'))
    if settings.ecs.profile:
        click.echo(paint(f"profile = {json.dumps(settings.ecs.profile)}"))
