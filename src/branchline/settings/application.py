"""`branchline.toml`: what the application's developers say about their project. It is read from the deployed commit.

The descriptions, limits and examples here are the only source of the JSON Schema, the annotated example, the file that
`branchline init` writes, the reference page and the error messages (`expected` says what a text must look like).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from branchline.naming import PROJECT_LENGTH
from branchline.settings import patterns

FILE_NAME = "branchline.toml"

Variable = Annotated[
    str,
    Meta(pattern=patterns.VARIABLE, extra={"expected": "a name of letters, digits and underscores, no digit first"}),
]
Value = Annotated[str, Meta(pattern=patterns.WITHOUT_NUL, extra={"expected": "text in quotes, without NUL characters"})]
Inside = Annotated[
    str, Meta(pattern=patterns.INSIDE, extra={"expected": "a relative path that stays inside, without '..'"})
]
BranchPattern = Annotated[
    str, Meta(pattern=patterns.NOT_BLANK, extra={"expected": 'a pattern that is not empty, such as "feature/*"'})
]
Memory = Annotated[
    str,
    Meta(
        pattern=patterns.MEMORY,
        extra={"expected": 'memory such as "512m" or "2g", at least "6m" (the least that Docker accepts)'},
    ),
]
Domain = Annotated[
    str,
    Meta(
        pattern=patterns.DOMAIN,
        max_length=patterns.DOMAIN_LENGTH,
        extra={
            "expected": "a DNS name in lower case, not an address, such as preview.example.com; letters beyond a-z in"
            f" their xn-- form; at most {patterns.DOMAIN_LENGTH} characters, so that a host fits in 253"
        },
    ),
]
SecretReference = Annotated[
    str,
    Meta(
        pattern=patterns.SECRET_REFERENCE,
        extra={"expected": 'a reference such as "ssm:/shop/token" or "secretsmanager:shop", never the value'},
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Build(Struct, frozen=True, forbid_unknown_fields=True):
    """How the image is built."""

    context: Annotated[
        Inside,
        Meta(description="Directory of the build context, relative to the repository's root.", examples=["."]),
    ] = "."
    dockerfile: Annotated[
        Inside, Meta(description="The Dockerfile, relative to the build context.", examples=["docker/web.Dockerfile"])
    ] = "Dockerfile"
    target: Annotated[
        Value, Meta(description="The stage to build; empty for the last one.", examples=["production"])
    ] = ""
    args: Annotated[
        dict[Variable, Value],
        Meta(
            description="Build arguments. They stay readable in the image: never put secrets here.",
            examples=[{"NODE_ENV": "production"}],
        ),
    ] = field(default_factory=dict[str, str])


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """When a release counts as healthy."""

    path: Annotated[
        Annotated[
            str,
            Meta(
                pattern=patterns.URL_PATH,
                extra={"expected": 'a path such as "/health": "/" first, no spaces, other characters percent-encoded'},
            ),
        ]
        | None,
        Meta(
            description="Path that must answer 2xx or 3xx."
            " Unset: the image's HEALTHCHECK if there is one, otherwise '/'; on ECS always '/'.",
            examples=["/health"],
        ),
    ] = None
    timeout: Annotated[float, Meta(gt=0, le=3600, description="Seconds that a release may take to become healthy.")] = (
        60.0
    )
    request_timeout: Annotated[float, Meta(gt=0, le=300, description="Seconds that one health request may take.")] = 5.0


class Branches(Struct, frozen=True, forbid_unknown_fields=True):
    """Which branches get an environment. Patterns as in a shell: `*` also crosses slashes."""

    include: Annotated[
        list[BranchPattern],
        Meta(
            min_length=1,
            description="Patterns of which a branch must match one.",
            examples=[["main", "feature/*"]],
            extra={"expected": 'a list of at least one pattern, such as ["feature/*"]'},
        ),
    ] = field(default_factory=lambda: ["*"])
    exclude: Annotated[
        list[BranchPattern],
        Meta(
            description="Patterns of which a branch must match none.",
            examples=[["dependabot/*"]],
            extra={"expected": 'a list of patterns, such as ["dependabot/*"]'},
        ),
    ] = field(default_factory=list[str])


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What a release may use. The operator's limits are the ceiling."""

    memory: Annotated[Memory, Meta(description="Memory, such as '512m' or '2g'. Swap is not added.")] = "512m"
    cpus: Annotated[float, Meta(ge=0.01, le=1024, description="Processors; fractions are allowed.")] = 1.0
    pids: Annotated[int, Meta(ge=1, le=1_000_000, description="Processes and threads.")] = 512


class Deploy(Struct, frozen=True, forbid_unknown_fields=True):
    """How one release replaces another."""

    grace: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds that requests in flight at the old release may take before it is stopped.",
        ),
    ] = 15.0
    stop_timeout: Annotated[
        int, Meta(ge=0, le=600, description="Seconds between SIGTERM and SIGKILL when a container is stopped.")
    ] = 10


class Task(Struct, frozen=True, forbid_unknown_fields=True):
    """What a release gets on Amazon ECS, which sells fixed sizes. On one machine, `limits` count instead."""

    cpu: Annotated[
        Literal[256, 512, 1024, 2048, 4096, 8192, 16384],
        Meta(description="Processor units; 1024 are one processor.", examples=[512]),
    ] = 256
    memory: Annotated[
        int,
        Meta(
            ge=512,
            le=122_880,
            description="Memory in MiB; see Fargate's table.",
            examples=[1024],
        ),
    ] = 512
    deregistration_delay: Annotated[
        int,
        Meta(
            ge=0,
            le=3600,
            description="Seconds that requests in flight at the old release may take before it is stopped.",
            examples=[30],
        ),
    ] = 5


class Application(Struct, frozen=True, forbid_unknown_fields=True):
    """An application's settings; every key has a default, so that a Dockerfile with EXPOSE needs no file at all."""

    project: Annotated[
        Annotated[
            str,
            Meta(
                # `naming.check_name` enforces it, with a suggestion.
                extra_json_schema={"pattern": patterns.DNS_LABEL, "maxLength": PROJECT_LENGTH},
                extra={
                    "expected": "lower-case letters, digits and single hyphens between them,"
                    f" at most {PROJECT_LENGTH} characters"
                },
            ),
        ]
        | None,
        Meta(
            description="The project's name, a DNS label of at most 25 characters. Unset: the repository's name.",
            examples=["shop"],
        ),
    ] = None
    port: Annotated[
        Port | None,
        Meta(
            description="The port that the application listens on. Unset: the image's EXPOSE, or its PORT.",
            examples=[8000],
        ),
    ] = None
    domain: Annotated[
        Domain | None,
        Meta(
            description="The domain of this project's hosts. Unset: the platform's domain.",
            examples=["preview.example.com"],
        ),
    ] = None
    env: Annotated[
        dict[Variable, Value],
        Meta(description="Environment variables. Not for secrets: use env_files.", examples=[{"LOG_LEVEL": "debug"}]),
    ] = field(default_factory=dict[str, str])
    env_files: Annotated[
        list[Inside],
        Meta(
            description="Files of KEY=value lines, relative to the directory that the deploy runs in; not from the"
            " commit, so secrets needn't be committed. Later ones win, and all win over env.",
            examples=[[".env.preview"]],
            extra={"expected": 'a list of relative paths, such as [".env.preview"]'},
        ),
    ] = field(default_factory=list[str])
    secrets: Annotated[
        dict[Variable, SecretReference],
        Meta(
            description="Environment variables that Amazon ECS reads from SSM ('ssm:NAME') or Secrets Manager"
            " ('secretsmanager:NAME', or 'secretsmanager:NAME:KEY' for one key of a JSON object), or from an ARN of"
            " either. Their values never pass through Branchline. On one machine, an env_file gives their values.",
            examples=[{"DATABASE_URL": "ssm:/shop/preview/database-url"}],
        ),
    ] = field(default_factory=dict[str, str])
    build: Build = field(default_factory=Build)
    health: Health = field(default_factory=Health)
    branches: Branches = field(default_factory=Branches)
    limits: Limits = field(default_factory=Limits)
    deploy: Deploy = field(default_factory=Deploy)
    ecs: Task = field(default_factory=Task)


def branch_selected(branches: Branches, branch: str) -> bool:
    """Whether the branch gets an environment. Case counts, and `*` crosses slashes (`fnmatch.fnmatchcase`)."""
    included = any(fnmatchcase(branch, pattern) for pattern in branches.include)
    return included and not any(fnmatchcase(branch, pattern) for pattern in branches.exclude)
