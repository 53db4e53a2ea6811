"""`python webhook_bare.py`: removes an environment of Branchline's by the fewest calls of boto3.

All names are in the environment, as JSON, so that nothing has to be asked for. No look at whose these are, no turn, no
record, nobody is told. It prints how many calls it made.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import boto3


def main() -> None:
    """In the order in which nothing is in use any more."""
    known = json.loads(os.environ["KNOWN"])
    session = boto3.Session()
    elb, ecs = session.client("elbv2"), session.client("ecs")
    logs, ecr = session.client("logs"), session.client("ecr")
    elb.delete_rule(RuleArn=known["rule"])
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(ecs.delete_service, cluster=known["cluster"], service=known["service"], force=True),
            pool.submit(logs.delete_log_group, logGroupName=known["log_group"]),
            pool.submit(ecr.batch_delete_image, repositoryName=known["repository"], imageIds=known["images"]),
        ]
        for each in running:
            each.result()
    ecs.deregister_task_definition(taskDefinition=known["task_definition"])
    ecs.delete_task_definitions(taskDefinitions=[known["task_definition"]])
    elb.delete_target_group(TargetGroupArn=known["target_group"])
    print(7)


if __name__ == "__main__":
    main()
