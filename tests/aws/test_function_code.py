"""The function's zip, in an interpreter that has nothing but the standard library and boto3, as Lambda's runtime.

Lambda runs Python 3.13; this machine's is older. So that nothing is in the zip which a later Python has no more is
judged by what it imports.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from branchline.cancellation import Cancellation
from branchline.engines.ecs import names, specs, tags
from branchline.engines.ecs.aws import Aws
from branchline.engines.ecs.base import Base
from branchline.engines.ecs.lease import DynamoLease
from branchline.engines.ecs.package import function_code
from branchline.environment import EnvironmentId, Release
from branchline.ports import Deletion
from tests.forge_payloads import sample, signed
from tests.forge_stand_ins.github import GitHubStandIn
from tests.forge_stand_ins.server import COMMITS
from tests.slack import SlackStandIn

SECRET = "not-to-be-seen-0123456789"
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""And what it needs."""
NO_MORE = {
    *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "mailcap", "msilib", "nis", "nntplib"),
    *("ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib", "lib2to3"),
    *("asynchat", "asyncore", "distutils", "imp", "smtpd"),
}
"""Modules that Python 3.13 has no more, or 3.12: https://docs.python.org/3/whatsnew/3.13.html#removed-modules-and-apis"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `task`, as Lambda unpacks the zip, and `runtime`, with boto3 and what it needs."""
    directory = tmp_path_factory.mktemp("function")
    with zipfile.ZipFile(io.BytesIO(function_code())) as archive:
        archive.extractall(directory / "task")
    (directory / "runtime").mkdir()
    for name in BOTO3:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (directory / "runtime" / source.name).symlink_to(source)
    return directory


def bare(task: Path, program: str, environment: dict[str, str] | None = None) -> Any:
    """Runs the program with the zip and boto3 to import, warnings being errors; what its last line says as JSON."""
    path = f"import sys\nsys.path[:0] = {[str(task / 'task'), str(task / 'runtime')]!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", path + program],
        env=environment or {},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def modules() -> dict[str, str]:
    """The zip's modules, by their names."""
    with zipfile.ZipFile(io.BytesIO(function_code())) as archive:
        return {
            name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): archive.read(name).decode()
            for name in archive.namelist()
        }


def request(headers: dict[str, str], body: bytes, forge: str = "github") -> dict[str, Any]:
    """An event of payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "POST /webhooks/{forge}",
        "rawPath": f"/webhooks/{forge}",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": {"method": "POST", "path": f"/webhooks/{forge}"}, "stage": "$default"},
        "pathParameters": {"forge": forge},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


@contextmanager
def secret(aws: Aws, name: str, document: dict[str, Any]) -> Iterator[str]:
    """The ARN of a secret that the function is to read."""
    arn = aws.secrets.create_secret(Name=name, SecretString=json.dumps(document))["ARN"]
    try:
        yield arn
    finally:
        aws.secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


def handled(task: Path, aws: Aws, platform: str, secret: str, event: object) -> Any:
    """What the handler returns for an event."""
    environment = {
        "AWS_ENDPOINT_URL": aws.secrets.meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": aws.region,
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "BRANCHLINE_PLATFORM": platform,
        "BRANCHLINE_SECRET": secret,
        "BRANCHLINE_FORK_LABEL": "",
    }
    return bare(task, f"import index, json\nprint(json.dumps(index.handler({event!r}, None)))", environment)


def test_it_answers_with_nothing_but_boto3_there(task: Path, aws: Aws, ecs_platform: str) -> None:
    event = request(*signed("github", "ping", sample("github", "ping"), SECRET))
    with secret(aws, ecs_platform, {"secrets": [SECRET]}) as arn:
        answer = handled(task, aws, ecs_platform, arn, event)
    assert (answer["statusCode"], answer["headers"]["content-type"]) == (200, "application/json")
    assert json.loads(answer["body"]) == {
        "status": "pong",
        "platform": ecs_platform,
        "door": "AWS Lambda",
        "delivery": event["headers"]["x-github-delivery"],
    }


def test_it_removes_and_tells_with_nothing_but_boto3_there(task: Path, aws: Aws, base: Base) -> None:
    with SlackStandIn() as slack, GitHubStandIn() as github:
        environment = EnvironmentId(base.platform, "shop", "feature/gone")
        logs = names.log_group(environment)
        aws.logs.create_log_group(logGroupName=logs, tags=tags.encode(specs.owner(environment)))
        lease = DynamoLease(aws, base.platform)
        with lease.turn(Deletion(environment), Cancellation(), lambda _: None):
            failed = Release(environment, 1, COMMITS[0], datetime.now(UTC), failure="no Dockerfile")
            lease.note_failure(environment, failed, "host.test", github.repository)
        document = {
            "secrets": [SECRET],
            "slack": {"webhook": slack.webhook},
            "forges": {"github": {"url": github.url, "token": github.token}},
        }
        with secret(aws, base.platform, document) as arn:
            assert handled(task, aws, base.platform, arn, {"job": "reap"}) == {
                "removed": {"shop/feature/gone": [f"log group {logs}"]},
                "problems": [],
            }
        assert slack.texts[0].startswith("feature/gone is removed: its branch is gone")
        assert github.asked("deployments") == 1
        assert (slack.refused, github.wrong) == ([], [])


def test_every_module_in_it_can_be_imported(task: Path) -> None:
    """What a notifier or a GitHub App needs beside is imported when it is used, and the function uses neither."""
    names = sorted(modules())
    program = f"import importlib, json\nprint(json.dumps([importlib.import_module(n).__name__ for n in {names!r}]))"
    assert bare(task, program) == names


def test_it_loads_nothing_that_it_has_no_use_for(task: Path) -> None:
    loaded = set(bare(task, "import index, json\nprint(json.dumps(sorted(sys.modules)))"))
    unused = {"branchline.notifiers.apprise", "branchline.forges.api.github_app", "branchline.settings", "asyncio"}
    assert loaded & unused == set()


def test_it_is_small_and_the_same_files_make_the_same_zip() -> None:
    code = function_code()
    assert len(code) < 300_000
    assert function_code() == code


def test_it_imports_nothing_that_the_next_python_has_no_more() -> None:
    for name, text in modules().items():
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {each.partition(".")[0] for each in names} & NO_MORE, name
