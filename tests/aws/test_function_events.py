"""The function's handler is given events of any shape: it answers each, and with nothing that says it broke."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from branchline.engines.ecs.aws import Aws
from branchline.errors import BranchlineError
from branchline.functions import entry
from tests.forge_payloads import branch_deleted, sample, signed
from tests.odd_requests import OddRequest, odd_events, odd_json

SECRET = "not-to-be-seen-0123456789"
ANSWERS = {200, 202, 400, 401, 404, 413, 415}


def delivery(event: str, payload: object, secret: str = SECRET) -> dict[str, object]:
    return OddRequest("github", *signed("github", event, payload, secret)).event


@pytest.fixture
def secret(aws: Aws, ecs_platform: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The secret's ARN, as the function in this process knows it."""
    arn = aws.secrets.create_secret(Name=ecs_platform, SecretString=json.dumps({"secrets": [SECRET]}))["ARN"]
    monkeypatch.setenv("BRANCHLINE_PLATFORM", ecs_platform)
    monkeypatch.setenv("BRANCHLINE_SECRET", arn)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", f"{ecs_platform}-itself")
    entry._reader.cache_clear()
    yield arn
    entry._reader.cache_clear()
    aws.secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


@pytest.fixture
def itself(aws: Aws, ecs_platform: str) -> Iterator[str]:
    """What the function hands work over to."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("index.py", "def handler(event, context): pass\n")
    name = f"{ecs_platform}-itself"
    aws.functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="index.handler",
        Role="arn:aws:iam::000000000000:role/r",
        Code={"ZipFile": code.getvalue()},
    )
    yield name
    aws.functions.delete_function(FunctionName=name)


@pytest.mark.usefixtures("secret", "itself")
def test_whatever_is_posted_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    statuses: set[int] = set()

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(odd_events(SECRET))
    def check(event: dict[str, object]) -> None:
        answer = entry.handler(event, None)
        assert answer["statusCode"] in ANSWERS
        said = json.loads(answer["body"])
        assert said == {"error": "unauthorised"} or answer["statusCode"] != 401
        assert SECRET not in answer["body"]
        statuses.add(answer["statusCode"])

    check()
    assert statuses >= {202, 400, 401, 415}
    logged = capsys.readouterr().out
    assert SECRET not in logged
    assert all(json.loads(line)["what"] == "answered" for line in logged.splitlines())


@pytest.mark.usefixtures("secret")
def test_a_job_of_any_other_shape_is_an_error_that_says_so() -> None:
    @settings(max_examples=50, deadline=None, database=None)
    @given(st.dictionaries(st.sampled_from(["job", "removal", "x"]), odd_json, max_size=3))
    def check(event: dict[str, object]) -> None:
        with pytest.raises(BranchlineError, match="unknown job"):
            entry.handler(event, None)

    check()


@pytest.mark.usefixtures("secret")
def test_a_deletion_that_cannot_be_handed_over_is_shown_as_failed_so_that_it_can_be_sent_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    event = delivery(*branch_deleted("github", "main", "https://forge.example/team/shop.git"))
    answer = entry.handler(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (503, {"error": "try again later"})
    failed, answered = map(json.loads, capsys.readouterr().out.splitlines())
    assert failed["error"].startswith("can't hand the work over: Function not found")
    assert answered["answer"] == 503


@pytest.mark.parametrize("content", ["", "[]", '{"secrets": 1}', '{"secrets": [', '{"slack": {}, "forges": {}}'])
def test_a_secret_that_somebody_else_wrote_is_our_failure_and_nobodys_way_in(
    aws: Aws, secret: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.secrets.put_secret_value(SecretId=secret, SecretString=content or " ")
    status = entry.handler(delivery("ping", sample("github", "ping"), SECRET), None)["statusCode"]
    assert status == (401 if content.startswith('{"slack"') else 503)
    assert entry.handler(delivery("ping", sample("github", "ping"), ""), None)["statusCode"] == status
    assert SECRET not in capsys.readouterr().out


def test_a_secret_that_is_gone_is_our_failure_too(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_SECRET", f"{secret}-gone")
    assert entry.handler(delivery("ping", sample("github", "ping")), None)["statusCode"] == 503
