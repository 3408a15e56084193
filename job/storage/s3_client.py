"""A boto3 client as Graft wants it: patient, thread-safe, and at peace with servers that are not Amazon's."""

from typing import Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError

from job.errors import SettingsError
from job.storage.s3_errors import translate

ATTEMPTS = 6  # with the SDK's doubling pauses about 15 s; AWS_MAX_ATTEMPTS says otherwise
CONNECT_SECONDS = 10
READ_SECONDS = 60
CONNECTIONS = 64  # more than the downloads that run at once


def client() -> Any:
    """An S3 client whose credentials, region, endpoint and CA come from the AWS SDK's own chain and nowhere else.

    Raises:
        SettingsError: that chain holds something that cannot work.
    """
    try:
        core = botocore.session.get_session()
        session = boto3.session.Session(botocore_session=core)
        region = (
            core.get_config_variable("region") or "us-east-1"
        )  # signatures need one, and S3 finds the real one
        return session.client("s3", region_name=region, config=_config(core))
    except BotoCoreError as error:
        raise translate(error, "The AWS SDK's settings") from error
    except (
        ValueError
    ) as error:  # an endpoint that is no URL; the text repeats it, and it may hold a password
        raise SettingsError(
            "The AWS SDK does not accept one of its own settings.",
            "Check AWS_ENDPOINT_URL_S3 (http(s)://host[:port]), AWS_DEFAULT_REGION and AWS_MAX_ATTEMPTS (a number).",
        ) from error


def _config(core: Any) -> Config:
    custom = _endpoint(core)
    # Servers other than Amazon's often reject the checksums that the SDK adds by itself since 2025.
    checksums = "when_required" if custom else None
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        retries={
            "mode": "standard",
            "total_max_attempts": core.get_config_variable("max_attempts") or ATTEMPTS,
        },
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )


def _endpoint(core: Any) -> str | None:
    """The endpoint that the environment or the shared file names, asked in the SDK's own way."""
    if core.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    endpoint = ConfiguredEndpointProvider(
        core.full_config, core.get_scoped_config(), "s3"
    ).provide()
    if endpoint and "@" in endpoint:
        raise SettingsError(
            "Received an endpoint URL with a user name in it; expected http(s)://host[:port].",
            "Leave credentials to AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared file or a role.",
        )
    return endpoint
