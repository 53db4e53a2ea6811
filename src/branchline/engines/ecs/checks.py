"""What `branchline doctor` looks at on AWS: what each check found, and the remedy where that is not well.

The caller may be one who may not look at everything: what AWS refuses to show is a warning, and the rest goes on.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

import botocore.exceptions

from branchline.checks import Check
from branchline.engines.ecs import names, permissions, probe, quotas, stacks, webhook_checks
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.base import Base, read_base, read_shard
from branchline.engines.ecs.parallel import all_at_once
from branchline.engines.ecs.permissions import Caller
from branchline.errors import BranchlineError
from branchline.settings.platform import PlatformSettings

if TYPE_CHECKING:
    from types_boto3_acm.type_defs import CertificateDetailTypeDef
    from types_boto3_cloudformation.type_defs import StackTypeDef

_MOST_OFF, _MUCH_OFF = 300, 60
"""Seconds. AWS refuses a request whose time is off by more than the first:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html"""
_EXPIRES_SOON = 30
"""Days. A certificate that AWS renews by itself has been renewed by then:
https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html"""
_PATIENCE = 10
"""Seconds that a load balancer may take to answer."""
_NO_DOMAIN = ".branchline.internal"
"""How the domain ends that a base has where none was given."""


def run(aws: Aws, settings: PlatformSettings) -> list[Check]:
    """Every check; those that need credentials, or the base, only where these are there."""
    caller, found = _caller(aws)
    if caller is None:
        return found
    try:
        base = read_base(aws, settings.platform)
        stack = stacks.find(aws, names.base_stack(settings.platform), settings.platform)
    except BranchlineError as error:
        return [*found, Check("base", "failure", error.message, error.remedy)]
    if stack is None:  # it has been removed meanwhile
        return [*found, judge_stack(names.base_stack(settings.platform), "")]
    looks: dict[str, Callable[[], list[Check]]] = {
        "permissions": lambda: permissions.check(aws, caller, base),
        "base": lambda: _stacks(aws, base, stack),
        "certificate": lambda: [_certificate(aws, base, _domain(settings, base), stack)],
        "domain": lambda: [_name(base, _domain(settings, base))],
        "load balancer": lambda: _answers(aws, settings, base),
        "rules": lambda: quotas.balancers(aws, base, _further(base, stack)),
        "services": lambda: quotas.services(aws, base),
        "vCPUs": lambda: quotas.processors(aws, base),
        "webhook": lambda: webhook_checks.check(aws, base.platform),
        "instances": lambda: instances(aws, base, own=_by_bootstrap(stack)),
    }
    answers = all_at_once(*(partial(_looked, name, look) for name, look in looks.items()))
    return [*found, *(check for answer in answers for check in answer)]


def _looked(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look()
    except AwsError as error:
        remedy = "let somebody look who may; 'permissions' says what deploys lack" if error.denied else error.remedy
        return [Check(name, "warning", f"not checked: {error.message}", remedy)]
    except BranchlineError as error:
        return [Check(name, "warning", f"not checked: {error.message}", error.remedy)]


# Who we are, and when


def _caller(aws: Aws) -> tuple[Caller | None, list[Check]]:
    try:
        with asking("can't find out who this is"):
            answer = aws.sts.get_caller_identity()
    except BranchlineError as error:
        failure = Check("credentials", "failure", error.message, error.remedy)
        refusal = error.__cause__
        if not isinstance(refusal, botocore.exceptions.ClientError):
            return None, [failure]
        refused = refusal.response.get("ResponseMetadata")
        return None, [failure, *_clock(refused["HTTPHeaders"] if refused else {})]
    caller = Caller(answer["Arn"], answer["Account"], aws.region)
    who = Check("credentials", "ok", f"{caller.name} of the account {caller.account}, in {caller.region}")
    return caller, [who, *_clock(answer["ResponseMetadata"]["HTTPHeaders"])]


def _clock(headers: Mapping[str, str]) -> list[Check]:
    """By the Date of AWS's answer, which is exact to the second."""
    date = headers.get("date", "")
    return [judge_clock(datetime.now(UTC), parsedate_to_datetime(date))] if date else []


def judge_clock(ours: datetime, theirs: datetime) -> Check:
    """How far this machine's clock is off AWS's."""
    seconds = round((ours - theirs).total_seconds())
    off = abs(seconds)
    if off <= _MUCH_OFF:
        return Check("clock", "ok", "this machine's is AWS's, to the minute")
    return Check(
        "clock",
        "failure" if off > _MOST_OFF else "warning",
        f"this machine's is {off} s {'ahead of' if seconds > 0 else 'behind'} AWS's, which refuses requests that are"
        f" off by more than {_MOST_OFF} s",
        "have it set by the network, for example with: timedatectl set-ntp true",
    )


# The base


def _by_bootstrap(stack: StackTypeDef) -> bool:
    """Whether `bootstrap` made it, and not Terraform or the like, whose stacks have outputs and nothing else."""
    return any(item.get("ParameterKey") == "Platform" for item in stack.get("Parameters", []))


def _further(base: Base, stack: StackTypeDef) -> str:
    """How the operator gets a further load balancer."""
    more = base.shards + 1
    if _by_bootstrap(stack):
        return f"add a load balancer: branchline aws bootstrap --shards {more}"
    return f"add a load balancer by the means that made the base, such as shards = {more} in Terraform"


def _stacks(aws: Aws, base: Base, stack: StackTypeDef) -> list[Check]:
    expected = [names.shard_stack(base.platform, shard) for shard in range(2, base.shards + 1)]
    if base.capacity_provider and _by_bootstrap(stack):
        expected.append(names.capacity_stack(base.platform))
    found: dict[str, StackTypeDef | None] = {names.base_stack(base.platform): stack}
    found |= {name: stacks.find(aws, name, base.platform) for name in expected}
    return [judge_stack(name, each["StackStatus"] if each else "") for name, each in found.items()]


def judge_stack(name: str, status: str) -> Check:
    """A stack by its status, which is empty where there is none.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
    """
    again = "run 'branchline aws bootstrap' again"
    if not status:
        return Check("base", "failure", f"the stack {name} is missing", f"{again}; it makes it")
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return Check("base", "ok", f"{name} is in the state {status}")
    if status.endswith("_IN_PROGRESS"):
        return Check("base", "warning", f"{name} is being changed now: {status}", "wait until that has ended")
    if status == "UPDATE_ROLLBACK_COMPLETE":
        return Check("base", "warning", f"{name} is as it was before its last update, which failed", again)
    see = "see its events in the CloudFormation console"
    return Check("base", "failure", f"{name} is in the state {status}", f"{see}, and {again}")


# The way to an environment


def _domain(settings: PlatformSettings, base: Base) -> str:
    """The domain below which environments get their hosts, where their projects name no other."""
    return base.domain if settings.domain == PlatformSettings().domain else settings.domain


def _certificate(aws: Aws, base: Base, domain: str, stack: StackTypeDef) -> Check:
    outputs = {output.get("OutputKey"): output.get("OutputValue", "") for output in stack.get("Outputs", [])}
    arn = outputs.get("Certificate", "")
    if base.scheme != "https" or not arn:
        return Check(
            "certificate",
            "warning",
            "there is none, so URLs are plain HTTP, which anyone on the way can read",
            "give the base a domain of Route 53 (branchline aws bootstrap --domain NAME), or --certificate ARN",
        )
    with asking("can't look at the certificate"):
        found = aws.acm.describe_certificate(CertificateArn=arn)["Certificate"]
    return judge_certificate(found, domain, datetime.now(UTC))


def judge_certificate(certificate: CertificateDetailTypeDef, domain: str, now: datetime) -> Check:
    """A certificate by its state, its names and how long it is valid."""
    arn, status = certificate.get("CertificateArn", ""), certificate.get("Status", "")
    hosts: set[str] = {certificate.get("DomainName", ""), *certificate.get("SubjectAlternativeNames", [])}
    if status == "PENDING_VALIDATION":
        records = [option.get("ResourceRecord") for option in certificate.get("DomainValidationOptions", [])]
        missing = [f"{record['Name']} {record['Type']} {record['Value']}" for record in records if record]
        return Check(
            "certificate",
            "failure",
            f"{arn} waits for the proof that the domain is yours",
            f"make the DNS record that proves it: {'; '.join(missing) or 'see the Certificate Manager console'}",
        )
    if status != "ISSUED":
        another = "see the Certificate Manager console; --certificate ARN of 'aws bootstrap' takes another"
        return Check("certificate", "failure", f"{arn} is in the state {status}", another)
    if f"*.{domain}" not in hosts:
        covering = f"give the base one for *.{domain}: branchline aws bootstrap --certificate ARN"
        return Check("certificate", "failure", f"it is for {_listed(hosts)}, not for *.{domain}", covering)
    until = certificate.get("NotAfter")
    if until is None or (until - now).days >= _EXPIRES_SOON:
        text = f", valid until {until.astimezone(UTC):%Y-%m-%d}" if until else ""
        return Check("certificate", "ok", f"issued for {_listed(hosts)}{text}")
    by_itself = certificate.get("Type") == "AMAZON_ISSUED"
    return Check(
        "certificate",
        "warning" if until > now else "failure",
        f"it {'ends' if until > now else 'ended'} on {until.astimezone(UTC):%Y-%m-%d}",
        "AWS should have renewed it: is the DNS record that proves the domain still there?"
        if by_itself
        else f"import its successor into the same certificate, {arn}",
    )


def _name(base: Base, domain: str) -> Check:
    """Whether a name that no environment has leads to the load balancer: a wildcard record does that."""
    host, balancer = f"branchline-{secrets.token_hex(4)}.{domain}", base.load_balancer.dns
    if domain.endswith(_NO_DOMAIN):
        return Check(
            "domain",
            "warning",
            f"there is none: hosts end with {domain}, which no DNS knows, and are reached by their Host header",
            "branchline aws bootstrap --domain NAME",
        )
    if base.dns == "record":
        return Check("domain", "ok", f"each environment gets its own record in the hosted zone {base.hosted_zone}")
    return judge_name(base, host, domain, _addresses(host), _addresses(balancer))


def judge_name(base: Base, host: str, domain: str, found: set[str], expected: set[str]) -> Check:
    """A host's addresses against those of the load balancer; both are empty where the name doesn't resolve."""
    balancer = base.load_balancer.dns
    record = f"make a DNS record: *.{domain}, an alias of (Route 53) or a CNAME for {balancer}"
    if base.dns == "wildcard":
        record = (
            f"the hosted zone {base.hosted_zone} has the record; have the domain's registrar, or the zone above it,"
            " name the zone's name servers"
        )
    if not found:
        return Check("domain", "warning", f"{host} doesn't resolve, and so no environment's host does", record)
    if not expected:
        return Check(
            "domain",
            "warning",
            f"{host} resolves to {_listed(found)}, but the load balancer's own name, {balancer}, doesn't resolve here",
            "look at this machine's DNS",
        )
    if not found & expected:
        return Check(
            "domain",
            "warning",
            f"{host} resolves to {_listed(found)}, which isn't the load balancer ({_listed(expected)})",
            f"if no proxy of yours stands there, {record}",
        )
    return Check("domain", "ok", f"*.{domain} resolves to the load balancer, {_listed(found)}")


def _listed(texts: set[str]) -> str:
    return ", ".join(sorted(texts))


def _addresses(host: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _answers(aws: Aws, settings: PlatformSettings, base: Base) -> list[Check]:
    """Whether each load balancer answers a host that no environment has with its page for that, a 404."""
    host = f"branchline-{secrets.token_hex(4)}.{_domain(settings, base)}"
    found: list[Check] = []
    for shard in range(1, base.shards + 1):
        balancer = read_shard(aws, base, shard)
        answer = probe.ask(probe.address(settings.ecs, base, balancer), host, "/", _PATIENCE)
        if answer.status == 404:
            found.append(
                Check("load balancer", "ok", f"{balancer.name} answers 404 for a host that no environment has")
            )
            continue
        found.append(
            Check(
                "load balancer",
                "failure" if answer.status is None else "warning",
                f"{balancer.name} {answer}, when asked for a host that no environment has",
                f"can this machine reach {balancer.dns}? If not, set ecs.load_balancer in platform.toml"
                if answer.status is None
                else f"see the default rule and the other rules of {balancer.name}: is there one for every host?",
            )
        )
    return found


# The instances, where there are any of ours


def instances(aws: Aws, base: Base, *, own: bool) -> list[Check]:
    """The instances of the platform's Auto Scaling group, where tasks run on some. `own`: `bootstrap` made it."""
    if base.on_fargate:
        return []
    name = names.capacity_stack(base.platform)
    with asking(f"can't look at the instances of {name}"):
        groups = aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not groups:
        again = "run 'branchline aws bootstrap' again"
        missing = f"the Auto Scaling group {name} is missing, so no task can start"
        return [Check("instances", "failure", missing, again if own else "make it by the means that made the base")]
    with asking("can't list the instances of the cluster"):
        pages = aws.ecs.get_paginator("list_container_instances").paginate(
            cluster=names.cluster(base.platform), status="ACTIVE"
        )
        joined = sum(len(page["containerInstanceArns"]) for page in pages)
    started = sum(instance["LifecycleState"] == "InService" for instance in groups[0]["Instances"])
    least, most = int(groups[0]["MinSize"]), int(groups[0]["MaxSize"])
    means = f"branchline aws bootstrap --instances {least}-{most * 2}" if own else "by the means that made the base"
    return [judge_instances(joined, started, most, f"allow more: {means}")]


def judge_instances(joined: int, started: int, most: int, remedy: str) -> Check:
    """The instances that are in the cluster, of those that run, of as many as there may be.

    That there are no more to come is a warning, since those that there are may have room.
    """
    text = f"{joined} in the cluster, {started} running, {most} at most"
    if joined < started:
        return Check(
            "instances",
            "warning",
            f"{text}; an instance joins within two minutes of its start",
            "if it stays so, see /var/log/ecs/ecs-agent.log on the instance; does its subnet lead to the internet?",
        )
    if started >= most * quotas.NEARLY:
        return Check("instances", "warning", text, remedy)
    return Check("instances", "ok", text)
