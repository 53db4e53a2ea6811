"""`python aws_bare.py first|again HOST RELEASE IMAGE`: a release on Amazon ECS by the fewest calls of boto3.

What it needs to know of the base is in the environment, so that nothing has to be asked for. It ends when the load
balancer answers with nothing else, and prints how many seconds it waited for that. No lease, no look at what there is,
no record, no way back if it fails.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3

_POLL = 0.02
_IN_A_ROW = 5
_SECONDS = 60.0


def main() -> None:
    what, host, release, image = sys.argv[1:]
    session = boto3.Session()
    _push(session.client("ecr"), image)
    ecs = session.client("ecs")
    name = host.partition(".")[0]
    if what == "first":
        group = _route(session, name, host)
        task = _register(ecs, name, image)
        begun = time.monotonic()
        _create(ecs, name, task, group)
    else:
        task = _register(ecs, name, image)
        begun = time.monotonic()
        ecs.update_service(cluster=os.environ["CLUSTER"], service=name, taskDefinition=task, desiredCount=1)
    _wait(ecs, name, host, f"release {release}")
    print(time.monotonic() - begun)


def _push(ecr: Any, image: str) -> None:
    """The token goes to where `docker login` would write it."""
    (answer,) = ecr.get_authorization_token()["authorizationData"]
    file = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"auths": {image.partition("/")[0]: {"auth": answer["authorizationToken"]}}}))
    docker = os.environ["DOCKER"]
    for command in (["build", "--quiet", "--tag", image, "."], ["push", "--quiet", image]):
        subprocess.run([docker, *command], check=True, stdout=subprocess.DEVNULL)


def _route(session: Any, name: str, host: str) -> str:
    elb, logs = session.client("elbv2"), session.client("logs")
    logs.create_log_group(logGroupName=f"/{name}")
    logs.put_retention_policy(logGroupName=f"/{name}", retentionInDays=14)
    group = elb.create_target_group(
        Name=name,
        Protocol="HTTP",
        Port=8000,
        VpcId=os.environ["VPC"],
        TargetType="ip",
        HealthCheckPath="/",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=4,
        HealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}]
    )
    elb.create_rule(
        ListenerArn=os.environ["LISTENER"],
        Priority=int(os.environ["PRIORITY"]),
        Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": [host]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    return group


def _create(ecs: Any, name: str, task: str, group: str) -> None:
    ecs.create_service(
        cluster=os.environ["CLUSTER"],
        serviceName=name,
        taskDefinition=task,
        desiredCount=1,
        capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": os.environ["SUBNETS"].split(","),
                "securityGroups": [os.environ["SECURITY_GROUP"]],
                "assignPublicIp": "ENABLED",
            }
        },
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 8000}],
        deploymentConfiguration={
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
        },
    )


def _register(ecs: Any, name: str, image: str) -> str:
    answer = ecs.register_task_definition(
        family=name,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=os.environ["EXECUTION_ROLE"],
        taskRoleArn=os.environ["TASK_ROLE"],
        containerDefinitions=[
            {
                "name": "app",
                "image": image,
                "portMappings": [{"containerPort": 8000}],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": f"/{name}",
                        "awslogs-region": os.environ["AWS_REGION"],
                        "awslogs-stream-prefix": "app",
                    },
                },
            }
        ],
    )
    return answer["taskDefinition"]["taskDefinitionArn"]


def _wait(ecs: Any, name: str, host: str, wanted: str) -> None:
    """Until the release answers, and no other task runs. While there are two, the load balancer asks either one."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if _answer(host) == wanted and _alone(ecs, name) and all(_answer(host) == wanted for _ in range(_IN_A_ROW)):
            return
        time.sleep(_POLL)
    sys.exit(f"{host} doesn't answer {wanted!r} within {_SECONDS:g} s")


def _alone(ecs: Any, name: str) -> bool:
    return len(ecs.list_tasks(cluster=os.environ["CLUSTER"], serviceName=name)["taskArns"]) == 1


def _answer(host: str) -> str:
    address, path = os.environ["ROUTER"].removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", f"/{path}", headers={"Host": host})
        return connection.getresponse().read().decode().strip()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


if __name__ == "__main__":
    main()
