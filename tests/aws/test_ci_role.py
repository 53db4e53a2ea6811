"""The commands of docs/how-to/aws-ci.md that make the CI role, run on moto, which takes no malformed policy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from branchline.engines.ecs.aws import Aws
from tests.docs.pages import DOCS, ROOT, blocks


def test_the_pages_commands_make_a_role_without_a_placeholder_left(moto_aws: Aws, tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "aws-ci.md").read_text()
    shown = [block.text for block in blocks(page) if block.language == "sh" and "aws iam" in block.text]
    assert len(shown) == 2
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(shown)],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "AWS_DEFAULT_REGION": moto_aws.region},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    role: Any = moto_aws.iam.get_role(RoleName="branchline-ci")["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    (provider,) = moto_aws.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    account = role["Arn"].split(":")[4]
    assert statement["Principal"]["Federated"].replace("123456789012", account) == provider.get("Arn")
    assert statement["Condition"]["StringLike"] == {"token.actions.githubusercontent.com:sub": "repo:team/shop:*"}
    policy = moto_aws.iam.get_role_policy(RoleName="branchline-ci", PolicyName="branchline")["PolicyDocument"]
    assert "${" not in f"{statement}{policy}"
    assert "arn:aws:ecs:eu-central-1:123456789012:service/branchline-default/*" in str(policy)
