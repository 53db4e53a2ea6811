"""What a platform's base should be: what the operator asked for, over what the base has, over the defaults.

All that can be wrong with it is found here, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from branchline import naming
from branchline.engines.ecs import names, services, stacks
from branchline.engines.ecs.aws import Aws, AwsError, asking
from branchline.engines.ecs.stacks import Stack
from branchline.errors import ConfigurationError

if TYPE_CHECKING:
    from types_boto3_cloudformation.type_defs import StackTypeDef
    from types_boto3_ec2.type_defs import RouteTableTypeDef

_CERTIFIED = 64 - len("*.")
"""A certificate's first name has at most 64 characters:
https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html"""
_DEFAULTS = {
    "HostedZoneId": "",
    "CertificateArn": "",
    "Dns": "none",
    "Capacity": "fargate-spot",
    "LogRetentionDays": "14",
    "Shards": "1",
    "SecretArns": "",
    "VpcId": "",
    "SubnetIds": "",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asks for. None is: as the base has it, or the default where there is no base yet."""

    domain: str | None = None
    dns: str | None = None
    """`wildcard` or `record`; where the domain has a hosted zone, `wildcard` is the default."""
    certificate: str | None = None
    """The ARN of one for `*.domain`, in place of one that the base makes."""
    capacity: str | None = None
    shards: int | None = None
    log_retention: int | None = None
    """Days."""
    instances: tuple[int, int] | None = None
    """On EC2, how many stay when nothing runs, and how many there may be."""
    secrets: tuple[str, ...] | None = None
    """Names, which may have wildcards, or ARNs, of what environments may be given as secrets."""
    vpc: str | None = None
    subnets: tuple[str, ...] = ()
    webhook: bool | None = None
    """Whether forges are listened to; a new platform does unless said otherwise."""
    alarm_topic: str | None = None
    """The ARN of an SNS topic that hears of what the webhook's function couldn't do."""
    fork_label: str = ""
    """The label that allows a fork's commit; see `webhook.fork_label` in platform.toml."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the base should be, checked."""

    platform: str
    parameters: Mapping[str, str]
    """Of the template base.yaml; all of them."""
    shards_now: int
    """How many load balancers the base has; 0 where there is no base yet."""
    instances: tuple[int, int] | None = None
    """On EC2, how many stay and how many there may be, where the operator has said it."""
    webhook: Mapping[str, str] | None = None
    """What the operator has said of the parameters of webhook.yaml; None for no such stack."""

    @property
    def domain(self) -> str:
        """The domain below which every environment gets its host."""
        return self.parameters["Domain"]

    @property
    def shards(self) -> int:
        """How many load balancers there should be."""
        return int(self.parameters["Shards"])

    @property
    def on_instances(self) -> bool:
        """Whether tasks run on EC2 instances of ours."""
        return _on_instances(self.parameters)

    @property
    def has_certificate(self) -> bool:
        """Whether the load balancers speak HTTPS."""
        return _has_certificate(self.parameters)

    def listening(self) -> Stack | None:
        """The stack that listens to forges, if there should be one."""
        if self.webhook is None:
            return None
        shared = ("Domain", "HostedZoneId", "LogRetentionDays")
        parameters = {"Platform": self.platform, **{name: self.parameters[name] for name in shared}, **self.webhook}
        return Stack(names.webhook_stack(self.platform), self.platform, "webhook", parameters)

    def base(self, shards: int) -> Stack:
        """The base's stack, with that many load balancers in use."""
        parameters = {**self.parameters, "Platform": self.platform, "Shards": str(shards)}
        return Stack(names.base_stack(self.platform), self.platform, "base", parameters)


def make_plan(aws: Aws, platform: str, wanted: Wanted) -> Plan:
    """What the platform's base should be.

    Raises:
        ConfigurationError: what is wanted can't be, or would take from living environments what they stand on.
    """
    naming.check_name(platform, "platform's name", naming.PLATFORM_LENGTH)
    now = _parameters(find_base(aws, platform))
    parameters = _DEFAULTS | {"Domain": f"{platform}.branchline.internal"} | now
    parameters.pop("Platform", None)
    parameters |= _network(aws, wanted, now)
    parameters |= _hosts(aws, wanted, parameters)
    if wanted.capacity is not None:
        parameters["Capacity"] = wanted.capacity
    if wanted.shards is not None:
        parameters["Shards"] = str(wanted.shards)
    if wanted.log_retention is not None:
        parameters["LogRetentionDays"] = str(wanted.log_retention)
    if wanted.secrets is not None:
        parameters["SecretArns"] = ",".join(_secret_arns(aws, wanted.secrets))
    if wanted.instances is not None and not _on_instances(parameters):
        raise ConfigurationError(
            f"numbers of instances are given, but tasks run on {parameters['Capacity']}",
            remedy="give --capacity ec2-spot or ec2 too",
        )
    if now:
        _refuse_what_environments_stand_on(aws, platform, now, parameters)
    webhook = _webhook(wanted) if _listens(aws, platform, wanted, is_new=not now) else None
    return Plan(platform, parameters, int(now.get("Shards", "0")), wanted.instances, webhook)


def _listens(aws: Aws, platform: str, wanted: Wanted, *, is_new: bool) -> bool:
    if wanted.webhook is not None:
        return wanted.webhook
    return is_new or stacks.find(aws, names.webhook_stack(platform), platform) is not None


def _webhook(wanted: Wanted) -> dict[str, str]:
    topic = {} if wanted.alarm_topic is None else {"AlarmTopicArn": wanted.alarm_topic}
    return topic | {"ForkLabel": wanted.fork_label}


def find_base(aws: Aws, platform: str) -> StackTypeDef | None:
    """The stack of the platform's base, or None.

    Raises:
        ConfigurationError: it isn't the platform's, or wasn't made by `bootstrap`.
    """
    name = names.base_stack(platform)
    found = stacks.find(aws, name, platform)
    if found is not None and found.get("Outputs") and "Platform" not in _parameters(found):
        raise ConfigurationError(
            f"the stack {name} was made by other means, such as Terraform",
            remedy="change or destroy it by the same means",
        )
    return found


def live_services(aws: Aws, platform: str) -> list[str]:
    """The names of the platform's services, which are its environments."""
    with asking("can't look for the cluster"):
        clusters = aws.ecs.describe_clusters(clusters=[names.cluster(platform)])["clusters"]
    if not any(cluster.get("status") == "ACTIVE" for cluster in clusters):
        return []
    return sorted(service.name for service in services.every(aws, platform))


def listed(live: list[str]) -> str:
    """The first few of them, for a message."""
    shown = ", ".join(live[:5])
    return f"{shown} and {len(live) - 5} more" if len(live) > 5 else shown


def _parameters(stack: StackTypeDef | None) -> dict[str, str]:
    """What a stack was made with; none where it never came to be."""
    if stack is None or not stack.get("Outputs"):
        return {}
    return {item.get("ParameterKey", ""): item.get("ParameterValue", "") for item in stack.get("Parameters", [])}


def _on_instances(parameters: Mapping[str, str]) -> bool:
    return parameters["Capacity"].startswith("ec2")


def _has_certificate(parameters: Mapping[str, str]) -> bool:
    return bool(parameters["HostedZoneId"] or parameters["CertificateArn"])


def _refuse_what_environments_stand_on(
    aws: Aws, platform: str, now: Mapping[str, str], then: Mapping[str, str]
) -> None:
    """Hosts, listeners and kinds of target group are part of every environment."""
    now = {**_DEFAULTS, **now}
    changed = [
        what
        for what, before, after in (
            ("the domain", now["Domain"], then["Domain"]),
            ("how hosts get their DNS records", now["Dns"], then["Dns"]),
            ("HTTP or HTTPS", _has_certificate(now), _has_certificate(then)),
            ("Fargate or EC2 instances", _on_instances(now), _on_instances(then)),
        )
        if before != after
    ]
    if changed and (live := live_services(aws, platform)):
        raise ConfigurationError(
            f"environments stand on what would change, {' and '.join(changed)} ({len(live)}): {listed(live)}",
            remedy="remove them with 'branchline destroy', or make another platform with --name",
        )


# The network


def _network(aws: Aws, wanted: Wanted, now: Mapping[str, str]) -> dict[str, str]:
    if wanted.vpc is None:
        if wanted.subnets:
            raise ConfigurationError("subnets are given without their VPC", remedy="give --vpc ID too")
        return {}
    if now and wanted.vpc != now.get("VpcId", ""):
        raise ConfigurationError(
            f"the base stands in {now.get('VpcId') or 'a VPC of its own'}, and can't move to {wanted.vpc}",
            remedy="make another platform with --name, or tear this one down first",
        )
    if len(wanted.subnets) < 2:
        raise ConfigurationError(
            "a load balancer needs subnets in at least two zones",
            remedy=f"give --subnets A,B: public subnets of {wanted.vpc}",
        )
    _check_subnets(aws, wanted.vpc, wanted.subnets)
    return {"VpcId": wanted.vpc, "SubnetIds": ",".join(wanted.subnets)}


def _check_subnets(aws: Aws, vpc: str, subnets: tuple[str, ...]) -> None:
    try:
        with asking("can't look at the subnets"):
            found = aws.ec2.describe_subnets(SubnetIds=list(subnets))["Subnets"]
            tables = aws.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    except AwsError as error:
        if error.code.startswith("InvalidSubnet"):
            raise ConfigurationError(
                error.message, remedy=f"give the ids of subnets of {vpc} in {aws.region}"
            ) from error
        raise
    elsewhere = [item.get("SubnetId", "") for item in found if item.get("VpcId") != vpc]
    if elsewhere:
        raise ConfigurationError(f"not in the VPC {vpc}: {', '.join(elsewhere)}", remedy="give subnets of that VPC")
    zones = {item.get("AvailabilityZone", "") for item in found}
    if len(zones) < 2:
        raise ConfigurationError(
            f"the subnets are all in the zone {zones.pop()}; a load balancer needs two",
            remedy="give subnets of different zones",
        )
    private = [subnet for subnet in subnets if not _is_public(subnet, tables)]
    if private:
        raise ConfigurationError(
            f"no route to an internet gateway: {', '.join(private)}",
            remedy="give public subnets: the load balancer is reached through them, and tasks reach AWS",
        )


def _is_public(subnet: str, tables: Iterable[RouteTableTypeDef]) -> bool:
    """Whether the subnet's own route table, or else the VPC's main one, leads to an internet gateway."""
    own = main = None
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet:
                own = table
            elif association.get("Main"):
                main = table
    routes = (own or main or {}).get("Routes", [])
    return any(route.get("GatewayId", "").startswith("igw-") for route in routes)


# The hosts


def _hosts(aws: Aws, wanted: Wanted, now: Mapping[str, str]) -> dict[str, str]:
    """The domain, its hosted zone, its certificate and its records."""
    hosts = {key: now[key] for key in ("Domain", "HostedZoneId", "CertificateArn", "Dns")}
    if wanted.certificate is not None:
        hosts["CertificateArn"] = wanted.certificate
    if wanted.domain is not None:
        hosts["Domain"] = wanted.domain
        hosts["HostedZoneId"] = _hosted_zone(aws, wanted.domain)
        if not hosts["HostedZoneId"]:
            hosts["Dns"] = "none"
        elif hosts["Dns"] == "none":
            hosts["Dns"] = "wildcard"
    if wanted.dns is not None:
        if not hosts["HostedZoneId"]:
            raise ConfigurationError(
                f"--dns {wanted.dns}: no public hosted zone of this account has the domain {hosts['Domain']}",
                remedy="give --domain with a domain that Route 53 serves, or make the records yourself",
            )
        hosts["Dns"] = wanted.dns
    if _has_certificate(hosts) and not hosts["CertificateArn"] and len(hosts["Domain"]) > _CERTIFIED:
        raise ConfigurationError(
            f"no certificate can be made for *.{hosts['Domain']}: the domain may have {_CERTIFIED} characters",
            remedy="choose a shorter domain, or import a certificate and give it with --certificate",
        )
    return hosts


def _hosted_zone(aws: Aws, domain: str) -> str:
    """The id of the public hosted zone that has the domain: the one with the longest suffix of it, or ''.

    https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZonesByName.html
    """
    parts = domain.split(".")
    for start in range(len(parts) - 1):
        name = ".".join(parts[start:]) + "."
        with asking(f"can't look for the hosted zone of {domain}"):
            zones = aws.route53.list_hosted_zones_by_name(DNSName=name)["HostedZones"]
        found = [
            zone["Id"].rpartition("/")[2]
            for zone in zones
            if zone["Name"] == name and not zone.get("Config", {}).get("PrivateZone", False)
        ]
        if len(found) > 1:
            raise ConfigurationError(
                f"there are {len(found)} public hosted zones named {name.rstrip('.')}: {', '.join(found)}",
                remedy="delete those that the domain isn't delegated to",
            )
        if found:
            return found[0]
    return ""


# The secrets


def _secret_arns(aws: Aws, secrets: tuple[str, ...]) -> list[str]:
    """ARNs of SSM parameters and of Secrets Manager secrets, whose ARNs end with six characters of AWS's choice.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html
    """
    given = [secret for secret in secrets if secret.startswith("arn:")]
    named = [secret.lstrip("/") for secret in secrets if not secret.startswith("arn:")]
    if not named:
        return given
    with asking("can't find out which account this is"):
        identity = aws.sts.get_caller_identity()
    partition, account = identity["Arn"].split(":")[1], identity["Account"]
    for name in named:
        given.append(f"arn:{partition}:ssm:{aws.region}:{account}:parameter/{name}")
        ending = "" if name.endswith("*") else "-??????"
        given.append(f"arn:{partition}:secretsmanager:{aws.region}:{account}:secret:{name}{ending}")
    return given
