"""What the operator says about the platform: one TOML file, and environment variables that win over it.

The descriptions, limits and examples here are the only source of the JSON Schema, the annotated example, the reference
page and the error messages (`expected` says what a text must look like).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from branchline.naming import PLATFORM_LENGTH
from branchline.settings import patterns
from branchline.settings.application import Domain, Memory, Port, Value

FILE_NAME = "platform.toml"


class Router(Struct, frozen=True, forbid_unknown_fields=True):
    """The router, one Caddy process in front of all environments."""

    bind: Annotated[
        str,
        Meta(
            description="Address to listen on. Empty: loopback for the domain 'localhost', otherwise every address.",
            examples=["0.0.0.0"],  # noqa: S104 (an example of what to write)
        ),
    ] = ""
    http_port: Annotated[Port, Meta(description="The port for HTTP.", examples=[80])] = 8080
    https_port: Annotated[Port, Meta(description="The port for HTTPS, where it is on.", examples=[443])] = 8443
    https: Annotated[
        Literal["off", "internal", "acme"],
        Meta(
            description="off: plain HTTP. internal: certificates from the router's own authority."
            " acme: certificates for a real domain, from Let's Encrypt or 'acme_directory'.",
            examples=["acme"],
        ),
    ] = "off"
    acme_directory: Annotated[
        str,
        Meta(
            pattern=patterns.URL_OR_EMPTY,
            description="Another ACME server's directory URL.",
            examples=["https://acme.example.com/directory"],
            extra={"expected": 'a URL such as "https://acme.example.com/directory"'},
        ),
    ] = ""
    acme_email: Annotated[
        Value, Meta(description="The address that the ACME account is for.", examples=["ops@example.com"])
    ] = ""
    acme_root: Annotated[
        str,
        Meta(
            pattern=patterns.ABSOLUTE_OR_EMPTY,
            description="PEM file with the root that the ACME server's own certificate is checked against.",
            examples=["/etc/branchline/acme-root.pem"],
            extra={"expected": "an absolute path"},
        ),
    ] = ""


class Docker(Struct, frozen=True, forbid_unknown_fields=True):
    """The Docker Engine."""

    host: Annotated[
        Value,
        Meta(
            description="The engine's address. Empty: DOCKER_HOST, the current docker context, the default socket.",
            examples=["unix:///var/run/docker.sock"],
        ),
    ] = ""
    builder: Annotated[
        Literal["auto", "buildkit", "classic"],
        Meta(description="auto: BuildKit where the engine offers it, otherwise the classic builder."),
    ] = "auto"
    subnets: Annotated[
        str,
        Meta(
            description="Address range that environments' networks are cut from, a /27 each.",
            extra={"expected": 'a private IPv4 range of a /24 or larger, such as "10.213.0.0/16"'},
        ),
    ] = "10.213.0.0/16"


class Ecs(Struct, frozen=True, forbid_unknown_fields=True):
    """Amazon ECS, where engine is "ecs"."""

    region: Annotated[
        Value,
        Meta(
            description="The AWS region. Empty: AWS_REGION, or the profile's.",
            examples=["eu-central-1"],
        ),
    ] = ""
    profile: Annotated[
        Value,
        Meta(
            description="The profile of ~/.aws/config with the credentials. Empty: as the AWS command line finds them.",
            examples=["preview"],
        ),
    ] = ""
    registry: Annotated[
        Value,
        Meta(
            description="Address that images are pushed to and pulled from, in place of ECR's own.",
            examples=["registry.example.com:5000"],
        ),
    ] = ""
    load_balancer: Annotated[
        str,
        Meta(
            pattern=patterns.URL_OR_EMPTY,
            description="URL by which this machine reaches the load balancer, in place of its own DNS name, such as"
            " where it is internal. '{name}' stands for the load balancer's name.",
            examples=["http://127.0.0.1:8080"],
            extra={"expected": 'a URL such as "http://127.0.0.1:8080"'},
        ),
    ] = ""


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """Where forges say that a branch is gone. On ECS, `branchline aws bootstrap` makes that place."""

    url: Annotated[
        str,
        Meta(
            pattern=patterns.URL_OR_EMPTY,
            description="The URL below which forges reach 'branchline webhook serve'; on ECS, in place of the API's"
            " own, with '{api}' for its id.",
            examples=["https://hooks.preview.example.com"],
            extra={"expected": 'a URL such as "https://hooks.preview.example.com"'},
        ),
    ] = ""
    bind: Annotated[
        str, Meta(description="Address that 'branchline webhook serve' listens on.", examples=["0.0.0.0"])  # noqa: S104
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port that 'branchline webhook serve' listens on.")] = 8090
    fork_label: Annotated[
        Value,
        Meta(
            description="The label by which a maintainer allows one commit of a fork's pull request. Empty: none does.",
            examples=["preview"],
        ),
    ] = ""


class Slack(Struct, frozen=True, forbid_unknown_fields=True):
    """Slack: an incoming webhook, or a bot's token and a channel, for messages in threads."""

    webhook: Annotated[
        str,
        Meta(
            description="The URL of an incoming webhook. A secret.",
            examples=["https://hooks.slack.com/services/T00/B00/xxxx"],
        ),
    ] = ""
    token: Annotated[
        Value, Meta(description="A bot's token with the scope chat:write. A secret.", examples=["xoxb-1234-5678-abcd"])
    ] = ""
    channel: Annotated[
        Value, Meta(description="The channel's id, with a token; the bot has to be in it.", examples=["C012AB3CD"])
    ] = ""
    people: Annotated[
        dict[Value, Value],
        Meta(
            description="Who is mentioned when their commit fails: e-mail addresses of commits, and Slack member ids.",
            examples=[{"ada@example.com": "U012AB3CD"}],
        ),
    ] = field(default_factory=dict[str, str])
    api: Annotated[
        str,
        Meta(
            pattern=patterns.URL_OR_EMPTY,
            description="Another address of Slack's API, such as of a proxy.",
            examples=["https://slack.example.com/api"],
            extra={"expected": 'a URL such as "https://slack.com/api"'},
        ),
    ] = "https://slack.com/api"


class Apprise(Struct, frozen=True, forbid_unknown_fields=True):
    """Any other service, through Apprise: pip install 'branchline[apprise]'."""

    urls: Annotated[
        list[Value],
        Meta(
            description="Where to send, as Apprise writes it. Secrets.",
            examples=[["discord://webhook_id/webhook_token"]],
        ),
    ] = field(default_factory=list[str])


_ForgeUrl = Annotated[
    str,
    Meta(pattern=patterns.URL_OR_EMPTY, extra={"expected": 'a URL such as "https://git.example.com"'}),
]


class GitHub(Struct, frozen=True, forbid_unknown_fields=True):
    """GitHub, or GitHub Enterprise Server: with a token, or as a GitHub App."""

    url: Annotated[
        _ForgeUrl, Meta(description="Where it is, if not github.com.", examples=["https://github.example.com"])
    ] = "https://github.com"
    token: Annotated[
        Value,
        Meta(
            description="A token for statuses, deployments, comments and webhooks. A secret.",
            examples=["github_pat_1234"],
        ),
    ] = ""
    app: Annotated[Value, Meta(description="A GitHub App's client id, in place of a token.", examples=["Iv23li"])] = ""
    app_key: Annotated[
        str,
        Meta(
            pattern=patterns.ABSOLUTE_OR_EMPTY,
            description="The file with the GitHub App's private key.",
            examples=["/etc/branchline/app.pem"],
            extra={"expected": "an absolute path"},
        ),
    ] = ""


class GitLab(Struct, frozen=True, forbid_unknown_fields=True):
    """GitLab, or a GitLab of one's own."""

    url: Annotated[
        _ForgeUrl, Meta(description="Where it is, if not gitlab.com.", examples=["https://gitlab.example.com"])
    ] = "https://gitlab.com"
    token: Annotated[
        Value, Meta(description="A project's or group's token with the scope api. A secret.", examples=["glpat-1234"])
    ] = ""


class Bitbucket(Struct, frozen=True, forbid_unknown_fields=True):
    """Bitbucket Cloud."""

    api: Annotated[
        _ForgeUrl, Meta(description="Another address of its API.", examples=["https://api.bitbucket.example.com/2.0"])
    ] = "https://api.bitbucket.org/2.0"
    token: Annotated[
        Value, Meta(description="A repository's or workspace's access token. A secret.", examples=["ATCTT3xFfGN0"])
    ] = ""


class Gitea(Struct, frozen=True, forbid_unknown_fields=True):
    """Gitea or Forgejo."""

    url: Annotated[_ForgeUrl, Meta(description="Where it is.", examples=["https://codeberg.org"])] = ""
    token: Annotated[
        Value,
        Meta(description="A token with the scopes write:repository and write:issue. A secret.", examples=["1234abcd"]),
    ] = ""


class Ceilings(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that any application may ask for in its own limits."""

    memory: Annotated[Memory, Meta(description="Memory of one environment.")] = "4g"
    cpus: Annotated[float, Meta(ge=0.01, le=1024, description="Processors of one environment.")] = 4.0
    pids: Annotated[int, Meta(ge=1, le=1_000_000, description="Processes and threads of one environment.")] = 4096


class PlatformSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The operator's settings of one platform; every key has a default."""

    platform: Annotated[
        str,
        Meta(
            description="The platform's name. Two platforms on one engine never touch each other.",
            # `naming.check_name` enforces it, with a suggestion.
            extra_json_schema={"pattern": patterns.DNS_LABEL, "maxLength": PLATFORM_LENGTH},
            extra={
                "expected": "lower-case letters, digits and single hyphens between them,"
                f" at most {PLATFORM_LENGTH} characters"
            },
        ),
    ] = "default"
    engine: Annotated[
        Literal["docker", "ecs"],
        Meta(
            description="docker: containers on one machine. ecs: services on Amazon ECS, on the base that"
            " 'branchline aws bootstrap' makes.",
            examples=["ecs"],
        ),
    ] = "docker"
    domain: Annotated[
        Domain,
        Meta(
            description="The domain below which every environment gets its host. On ECS, the base's own unless set.",
            examples=["preview.example.com"],
        ),
    ] = "localhost"
    hosts: Annotated[
        Literal["{slug}--{project}", "{slug}"],
        Meta(description="How a host's first label is made; '{slug}' for a platform of a single project."),
    ] = "{slug}--{project}"
    state_dir: Annotated[
        str,
        Meta(
            pattern=patterns.ABSOLUTE_OR_EMPTY,
            description="Directory for the router's files and locks. Empty: /var/lib/branchline for root, otherwise"
            " $XDG_STATE_HOME/branchline or ~/.local/state/branchline.",
            examples=["/var/lib/branchline"],
            extra={"expected": "an absolute path"},
        ),
    ] = ""
    parallel: Annotated[
        int, Meta(ge=1, le=256, description="On one machine, how many deploys may build and start at the same time.")
    ] = 4
    lifetime: Annotated[
        float,
        Meta(
            ge=0,
            le=87_600,
            description="Hours after its last deploy at which 'reap' removes an environment; 0 for never.",
            examples=[168.0],
        ),
    ] = 0.0
    router: Router = field(default_factory=Router)
    docker: Docker = field(default_factory=Docker)
    ecs: Ecs = field(default_factory=Ecs)
    limits: Ceilings = field(default_factory=Ceilings)
    webhook: Webhook = field(default_factory=Webhook)
    slack: Slack = field(default_factory=Slack)
    apprise: Apprise = field(default_factory=Apprise)
    github: GitHub = field(default_factory=GitHub)
    gitlab: GitLab = field(default_factory=GitLab)
    bitbucket: Bitbucket = field(default_factory=Bitbucket)
    gitea: Gitea = field(default_factory=Gitea)
