"""A boto3 client for this job: patient, thread-safe, and compatible with servers of any maker."""

import errno
import os
import ssl
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import boto3.session
import botocore.loaders
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.utils import parse_timestamp

from job.errors import SettingsError
from job.storage.s3_errors import WEB_PAGE, explain_unreadable_file, translate_error

# With the SDK's doubling pauses about 15 s. AWS_MAX_ATTEMPTS overrides it.
ATTEMPTS = 6
CONNECT_SECONDS = 10
READ_SECONDS = 60
# More than the downloads that run at once.
CONNECTIONS = 64


def create_client(*, anonymous: bool = False) -> Any:
    """An S3 client configured by the AWS SDK's own chain (environment, shared files) alone.

    Credentials, region, endpoint and CA come from there and nowhere else.

    Args:
        anonymous: send no credentials.

    Raises:
        SettingsError: that chain holds something that cannot work.
    """
    try:
        core = botocore.session.get_session()
        models = _get_models(core.get_config_variable("data_path"))
        core.register_component("data_loader", models)
        parsers = core.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=read_moment)
        _require_ca_bundle(core)
        session = boto3.session.Session(botocore_session=core)
        # Signatures need a region, and S3 finds the real one.
        region = core.get_config_variable("region") or "us-east-1"
        client = session.client("s3", region_name=region, config=_build_config(core, anonymous))
        # Before the SDK's own handler, which makes an error 500 of it that looks temporary. That
        # one is registered for `s3`, and the one for `*` is called earlier.
        client.meta.events.register_first("before-parse.*.*", _mark_web_page)
        return client
    except BotoCoreError as error:
        raise translate_error(error, "The AWS SDK's settings") from error
    except OSError as error:
        raise explain_unreadable_file(error, "The AWS SDK's settings") from error
    except ValueError as error:
        # An endpoint that is not a URL. The SDK's text repeats it, and it may hold a password.
        raise SettingsError(
            "The AWS SDK does not accept one of its own settings.",
            "Check AWS_ENDPOINT_URL_S3 (http(s)://host[:port]), AWS_DEFAULT_REGION and "
            "AWS_MAX_ATTEMPTS (a number).",
        ) from error


@cache
def _get_models(data_path: str | None) -> Any:
    """The SDK's descriptions of services. Each client would read them anew, in 0.15 s of CPU."""
    return botocore.loaders.create_loader(data_path)


def read_moment(text: str) -> datetime:
    """A time as a server writes it. The SDK's own parser takes 0.1 ms for each object of a list."""
    if text.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    moment: datetime = parse_timestamp(text)
    return moment


def _mark_web_page(operation_model: Any, response_dict: Any, **_: Any) -> None:
    """Mark a web page that a server sends with status 200 in place of an answer of S3."""
    headers = response_dict["headers"]
    if (
        response_dict["status_code"] == 200
        and operation_model.name not in ("GetObject", "HeadObject")
        and headers.get("content-type", "").startswith("text/html")
    ):
        headers[WEB_PAGE] = "true"


def _require_ca_bundle(core: Any) -> None:
    """Read the file of trusted certificates, since the SDK's own error does not name it."""
    bundle = core.get_config_variable("ca_bundle")
    if not bundle or (_find_endpoint(core) or "").lower().startswith("http:"):
        return
    try:
        if Path(bundle).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), bundle)
        ssl.create_default_context(cafile=bundle)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"The CA bundle {bundle} cannot be read: {error.strerror or error}; expected a file "
            "of certificates (PEM).",
            "Correct AWS_CA_BUNDLE (or ca_bundle in the AWS SDK's shared file), or mount the file.",
        ) from error


def _build_config(core: Any, anonymous: bool) -> Config:
    # Servers other than Amazon's often reject the checksums that the SDK adds by itself since 2025.
    checksums = "when_required" if _find_endpoint(core) else None
    attempts = core.get_config_variable("max_attempts") or ATTEMPTS
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        signature_version=UNSIGNED if anonymous else None,
        retries={"mode": "standard", "total_max_attempts": attempts},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )


def _find_endpoint(core: Any) -> str | None:
    """The endpoint that the environment or the shared file sets, looked up as the SDK does it."""
    if core.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    provider = ConfiguredEndpointProvider(core.full_config, core.get_scoped_config(), "s3")
    endpoint = provider.provide()
    if endpoint and "@" in endpoint:
        raise SettingsError(
            "Received an endpoint URL with a user name in it; expected http(s)://host[:port].",
            "Leave credentials to AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared file or a "
            "role.",
        )
    return endpoint
