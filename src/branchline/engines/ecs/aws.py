"""The way to AWS: one boto3 client a service, made when it is first used; errors in the user's words.

Throttling is weather: botocore's adaptive mode retries with jitter and slows down by itself. A retried call may have
taken effect before its answer was lost, so that a call of ours may have made two of a thing: `retried` tells, and who
makes things looks once more then.
https://docs.aws.amazon.com/boto3/latest/guide/retries.html
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

import boto3
import botocore.exceptions
import botocore.parsers
from botocore.config import Config

from branchline import __version__
from branchline.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from types_boto3_acm import ACMClient
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ecr import ECRClient
    from types_boto3_ecs import ECSClient
    from types_boto3_elbv2 import ElasticLoadBalancingv2Client
    from types_boto3_iam import IAMClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_route53 import Route53Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_service_quotas import ServiceQuotasClient
    from types_boto3_sts import STSClient

_ATTEMPTS = 10
_CREDENTIALS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.UnauthorizedSSOTokenError,
    botocore.exceptions.SSOTokenLoadError,
)
_UNANSWERED = (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError)
"""The latter where something in between answers with a page of its own."""
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


class AwsError(EngineError):
    """AWS refused a call, or didn't answer it. `code` is the API's own, such as `PriorityInUse`; '' without answer."""

    def __init__(self, message: str, *, code: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code

    @property
    def denied(self) -> bool:
        """Whether the caller may not do it."""
        return self.code in _DENIED


class Account(Protocol):
    """Which account and region, as `settings.platform.Ecs` and the Lambda's own settings have it."""

    @property
    def region(self) -> str:
        """Empty: AWS_REGION, or the profile's."""
        ...

    @property
    def profile(self) -> str:
        """Empty: as the AWS command line finds the credentials."""
        ...


class Aws:
    """One account and region. Safe to use from several threads."""

    def __init__(self, settings: Account, *, attempts: int = _ATTEMPTS) -> None:
        self._settings = settings
        self._attempts = attempts
        self._lock = threading.RLock()
        self.calls: Counter[str] = Counter()
        """How often each operation was called, by its name such as `ecs:CreateService`; retries are not in it."""
        self.retried: Counter[str] = Counter()
        """How often each operation, by its name such as `CreateService`, was sent again."""

    @cached_property
    def session(self) -> boto3.Session:
        """The credentials and region, as the AWS command line would find them."""
        try:
            session = boto3.Session(
                profile_name=self._settings.profile or None,
                region_name=self._settings.region or os.environ.get("AWS_REGION") or None,
            )
        except botocore.exceptions.ProfileNotFound as error:
            raise ConfigurationError(
                f"the AWS profile {self._settings.profile or os.environ.get('AWS_PROFILE', '')!r} doesn't exist",
                remedy="see 'aws configure list-profiles', and correct ecs.profile in platform.toml, or AWS_PROFILE",
            ) from error
        if not session.region_name:
            raise ConfigurationError(
                "which AWS region? None is configured", remedy="set ecs.region in platform.toml, or AWS_REGION"
            )
        return session

    @property
    def region(self) -> str:
        """The region's name, such as `eu-central-1`."""
        return str(self.session.region_name)

    def _client(self, service: str) -> Any:
        config = Config(
            retries={"mode": "adaptive", "total_max_attempts": self._attempts},
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=32,
            user_agent_extra=f"branchline/{__version__}",
        )
        with self._lock:  # a session is not safe to make clients with in several threads
            session: Any = self.session  # its stubs know services by literal names only
            client: Any = session.client(service, config=config)
        client.meta.events.register("before-call", self._count)
        client.meta.events.register("before-send", self._count_retry)
        return client

    def _count(self, model: Any, context: dict[str, Any], **_: Any) -> None:
        context["branchline_sent"] = 0
        self.calls[f"{model.service_model.service_name}:{model.name}"] += 1

    def _count_retry(self, request: Any, event_name: str, **_: Any) -> None:
        context = cast("dict[str, Any]", request.context)
        context["branchline_sent"] = context.get("branchline_sent", 0) + 1
        if context["branchline_sent"] > 1:
            self.retried[event_name.rpartition(".")[2]] += 1

    @cached_property
    def ecs(self) -> ECSClient:
        """Elastic Container Service."""
        return self._client("ecs")

    @cached_property
    def elb(self) -> ElasticLoadBalancingv2Client:
        """Elastic Load Balancing."""
        return self._client("elbv2")

    @cached_property
    def ecr(self) -> ECRClient:
        """Elastic Container Registry."""
        return self._client("ecr")

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """CloudWatch Logs."""
        return self._client("logs")

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB."""
        return self._client("dynamodb")

    @cached_property
    def route53(self) -> Route53Client:
        """Route 53."""
        return self._client("route53")

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """CloudFormation."""
        return self._client("cloudformation")

    @cached_property
    def ec2(self) -> EC2Client:
        """EC2: networks and instances."""
        return self._client("ec2")

    @cached_property
    def autoscaling(self) -> Any:
        """EC2 Auto Scaling."""
        return self._client("autoscaling")

    @cached_property
    def acm(self) -> ACMClient:
        """Certificate Manager."""
        return self._client("acm")

    @cached_property
    def iam(self) -> IAMClient:
        """Identity and Access Management."""
        return self._client("iam")

    @cached_property
    def sts(self) -> STSClient:
        """Security Token Service: who we are."""
        return self._client("sts")

    @cached_property
    def functions(self) -> LambdaClient:
        """Lambda."""
        return self._client("lambda")

    @cached_property
    def queues(self) -> Any:
        """SQS."""
        return self._client("sqs")

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """Secrets Manager."""
        return self._client("secretsmanager")

    @cached_property
    def quotas(self) -> ServiceQuotasClient:
        """Service Quotas."""
        return self._client("service-quotas")


@contextmanager
def asking(what: str) -> Generator[None]:
    """Turns botocore's errors into ours. `what` begins the message, such as `can't create the service main--shop`.

    Raises:
        AwsError: AWS refused, or can't be reached.
        ConfigurationError: there are no credentials, or they have expired.
    """
    try:
        yield
    except botocore.exceptions.ClientError as error:
        answer = error.response.get("Error", {})
        code, text = answer.get("Code", ""), answer.get("Message", "")
        if code in _EXPIRED:
            raise ConfigurationError(f"{what}: AWS doesn't take the credentials: {text}", remedy=_LOGIN) from error
        remedy = ""
        if code in _DENIED:
            remedy = "docs/how-to/aws-ci.md lists the permissions; 'branchline aws doctor' says which are missing"
        raise AwsError(f"{what}: {text or code}", code=code, remedy=remedy) from error
    except _CREDENTIALS as error:
        raise ConfigurationError(f"{what}: there are no AWS credentials: {error}", remedy=_LOGIN) from error
    except _UNANSWERED as error:
        raise AwsError(f"{what}: {error}", remedy="check the network and the region, and run it again") from error


_LOGIN = "log in, for example with 'aws sso login' or AWS_PROFILE; in CI, see docs/how-to/aws-ci.md"
