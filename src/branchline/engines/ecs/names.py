"""Every AWS name, computed from (platform, project, slug), so that nothing is found by guessing.

Platform, project and slug are DNS labels without `--` (see `branchline.naming`), so names joined by `--` can't be
ambiguous. What a name is too short for is in the resource's tags.
"""

from __future__ import annotations

from branchline import naming
from branchline.environment import EnvironmentId

CONTAINER = "app"
"""The container's name in every task definition."""
PRIORITIES = 50_000
"""A listener's rules have priorities from 1 to 50,000:
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html"""


def base_stack(platform: str) -> str:
    """The CloudFormation stack of the platform's base."""
    return f"branchline-{platform}"


def shard_stack(platform: str, shard: int) -> str:
    """The stack of a further load balancer; the first, number 1, is in the base."""
    return f"branchline-{platform}-lb-{shard}"


def capacity_stack(platform: str) -> str:
    """The stack of the EC2 instances that tasks run on, where they don't run on Fargate."""
    return f"branchline-{platform}-capacity"


def webhook_stack(platform: str) -> str:
    """The stack of what removes environments whose branch is gone."""
    return f"branchline-{platform}-webhook"


def cluster(platform: str) -> str:
    """The ECS cluster."""
    return f"branchline-{platform}"


def lease_table(platform: str) -> str:
    """The DynamoDB table of leases."""
    return f"branchline-{platform}"


def load_balancer(platform: str, shard: int) -> str:
    """A load balancer; its name may have 32 characters."""
    return f"bl-{platform}-{shard}"


def log_groups(platform: str) -> str:
    """What the names of a platform's log groups start with."""
    return f"/branchline/{platform}/"


def log_group(environment: EnvironmentId) -> str:
    """The environment's own log group: it is removed by one call, however many tasks have written to it."""
    return f"{log_groups(environment.platform)}{environment.project}/{environment.slug}"


def service(environment: EnvironmentId) -> str:
    """The ECS service, which reads as the host's first label."""
    return f"{environment.slug}--{environment.project}"


def families(platform: str) -> str:
    """What the names of a platform's task definition families start with."""
    return f"branchline--{platform}--"


def family(environment: EnvironmentId) -> str:
    """The task definition family; its revisions are the environment's releases."""
    return f"{families(environment.platform)}{environment.project}--{environment.slug}"


def target_group(environment: EnvironmentId) -> str:
    """The target group; its name may have 32 characters, hence a hash."""
    name = "/".join((environment.platform, environment.project, environment.slug))
    return f"bl-{naming.digest(name, 29)}"


def priority(host: str, attempt: int) -> int:
    """The listener rule's priority: the first attempt is computed from the host, further ones spread out from it."""
    return int(naming.digest(f"{host}#{attempt}", 12), 16) % PRIORITIES + 1


def shards(environment: EnvironmentId, count: int) -> list[int]:
    """The load balancers, 1 to `count`, in the order in which the environment would have them.

    By rendezvous hashing (Thaler and Ravishankar, 1998): with one more load balancer, few environments change theirs.
    """
    name = service(environment)
    return sorted(range(1, count + 1), key=lambda shard: naming.digest(f"{name}#{shard}", 16))


def image_tags(environment: EnvironmentId) -> str:
    """What the tags of the environment's images start with in the project's repository."""
    return f"{environment.slug}."


def image_tag(environment: EnvironmentId, commit: str, build: str = "") -> str:
    """The tag of a commit's image. `build` tells apart what else was made of it: by force, or elsewhere.

    Each environment has tags of its own, so that it can go without a look at the others: an image goes with its last.
    """
    return f"{image_tags(environment)}{commit}{f'.{build}' if build else ''}"
