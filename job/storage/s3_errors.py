"""Errors of the AWS SDK and of S3 servers, translated to ours: whose fault, and does a retry help.

`BY_CLASS` is searched along the exception's bases. It holds nothing as general as `BotoCoreError`,
so that a test finds a class that a new botocore adds, before a user does.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as botocore
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from job.errors import (
    JobError,
    SettingsError,
    StoreConflict,
    StoreForbidden,
    StoreNotFound,
    StoreUnavailable,
)

Kind = type[JobError]

# Codes in the error answers of S3 servers.
NOT_FOUND = {"NoSuchBucket", "NoSuchKey", "NotFound", "NoSuchUpload"}
CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict"}
# Not always with status 403.
FORBIDDEN = {"AccessDenied", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
BUSY = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "BadDigest",
    "IncompleteBody",
}
NEVER = {"NotImplemented", "MethodNotAllowed"}

CURES: dict[Kind, str] = {
    StoreNotFound: "Check the bucket and key in the URI, and the endpoint (AWS_ENDPOINT_URL_S3).",
    StoreConflict: "Another writer came first: look at what is there now.",
    StoreForbidden: (
        "Check the AWS credentials and the clock, and that they may list, read, write and delete "
        "there."
    ),
    StoreUnavailable: (
        "Check the endpoint (AWS_ENDPOINT_URL_S3), the network and AWS_CA_BUNDLE. A retry resumes."
    ),
    SettingsError: (
        "Check the URI, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 and the AWS SDK's shared file."
    ),
    JobError: "This is a fault of Graft: please report it.",
}

BY_CLASS: dict[type[Exception], Kind] = {
    # Away, slow or cut short.
    HTTPError: StoreUnavailable,
    botocore.HTTPClientError: StoreUnavailable,
    botocore.ConnectionError: StoreUnavailable,
    botocore.IncompleteReadError: StoreUnavailable,
    botocore.ChecksumError: StoreUnavailable,
    botocore.FlexibleChecksumError: StoreUnavailable,
    botocore.CapacityNotAvailableError: StoreUnavailable,
    # The cluster's credential service failed, not the right itself.
    botocore.CredentialRetrievalError: StoreUnavailable,
    botocore.MetadataRetrievalError: StoreUnavailable,
    # No credentials, or none that are still good.
    botocore.NoCredentialsError: StoreForbidden,
    botocore.NoAuthTokenError: StoreForbidden,
    botocore.PartialCredentialsError: StoreForbidden,
    botocore.TokenRetrievalError: StoreForbidden,
    botocore.UnknownTokenProviderError: StoreForbidden,
    botocore.UnknownCredentialError: StoreForbidden,
    botocore.SSOError: StoreForbidden,
    botocore.LoginError: StoreForbidden,
    botocore.RefreshWithMFAUnsupportedError: StoreForbidden,
    # Settings in the environment, the shared file or the URI that cannot work.
    botocore.BaseEndpointResolverError: SettingsError,
    botocore.ConfigNotFound: SettingsError,
    botocore.ConfigParseError: SettingsError,
    botocore.EndpointProviderError: SettingsError,
    botocore.InvalidChecksumConfigError: SettingsError,
    botocore.InvalidConfigError: SettingsError,
    botocore.InvalidDefaultsMode: SettingsError,
    botocore.InvalidDNSNameError: SettingsError,
    botocore.InvalidEndpointConfigurationError: SettingsError,
    botocore.InvalidEndpointDiscoveryConfigurationError: SettingsError,
    botocore.InvalidHostLabelError: SettingsError,
    botocore.InvalidIMDSEndpointError: SettingsError,
    botocore.InvalidIMDSEndpointModeError: SettingsError,
    botocore.InvalidProxiesConfigError: SettingsError,
    botocore.InvalidRetryConfigurationError: SettingsError,
    botocore.InvalidRetryModeError: SettingsError,
    botocore.InvalidS3AddressingStyleError: SettingsError,
    botocore.InvalidS3UsEast1RegionalEndpointConfigError: SettingsError,
    botocore.InvalidSTSRegionalEndpointsConfigError: SettingsError,
    botocore.MD5UnavailableError: SettingsError,
    botocore.MissingDependencyException: SettingsError,
    # In practice a bucket name that is not allowed.
    botocore.ParamValidationError: SettingsError,
    botocore.ProfileNotFound: SettingsError,
    botocore.ServiceNotInRegionError: SettingsError,
    botocore.UnknownRegionError: SettingsError,
    botocore.UnknownSignatureVersionError: SettingsError,
    botocore.UnsupportedOutpostResourceError: SettingsError,
    botocore.UnsupportedS3AccesspointConfigurationError: SettingsError,
    botocore.UnsupportedS3ArnError: SettingsError,
    botocore.UnsupportedS3ConfigurationError: SettingsError,
    botocore.UnsupportedS3ControlArnError: SettingsError,
    botocore.UnsupportedS3ControlConfigurationError: SettingsError,
    botocore.UnsupportedSignatureVersionError: SettingsError,
    botocore.ValidationError: SettingsError,
    # Only wrong code leads here.
    botocore.ApiVersionNotFoundError: JobError,
    botocore.AwsChunkedWrapperError: JobError,
    botocore.DataNotFoundError: JobError,
    botocore.InvalidExpressionError: JobError,
    botocore.MissingParametersError: JobError,
    botocore.OperationNotPageableError: JobError,
    botocore.PaginationError: JobError,
    botocore.StubResponseError: JobError,
    botocore.UndefinedModelAttributeError: JobError,
    botocore.UnknownClientMethodError: JobError,
    botocore.UnknownEndpointResolutionBuiltInName: JobError,
    botocore.UnknownServiceStyle: JobError,
    botocore.UnseekableStreamError: JobError,
    botocore.UnsupportedServiceProtocolsError: JobError,
    botocore.WaiterConfigError: JobError,
    botocore.WaiterError: JobError,
}


@contextmanager
def translate_errors(address: str) -> Iterator[None]:
    """Raise one of our errors for one of the SDK's in the block, with `address` in its message."""
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError) as error:
        raise translate_error(error, address) from error


def translate_error(error: Exception, address: str) -> JobError:
    """The error of ours for one of the SDK's, whose texts contain no secrets."""
    if isinstance(error, ClientError):
        kind = _classify_answer(error)
    else:
        kind = find_kind(type(error)) or JobError
    return kind(f"{address}: {str(error).rstrip('.')}.", CURES[kind])


def find_kind(error: type[Exception]) -> Kind | None:
    """The class of ours for an exception class of the SDK, or None if nobody has decided."""
    for base in error.__mro__:
        if base in BY_CLASS:
            return BY_CLASS[base]
    return None


def _classify_answer(error: ClientError) -> Kind:
    """The class for an error answer of an S3 server."""
    # The code comes first where it says more than the HTTP status.
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in NEVER or status == 501:
        return SettingsError
    if code in NOT_FOUND or status == 404:
        return StoreNotFound
    if code in CONFLICT or status == 412:
        return StoreConflict
    if code in FORBIDDEN or status in (401, 403):
        return StoreForbidden
    if code in BUSY or "SlowDown" in code or status in (408, 409, 429) or status >= 500:
        return StoreUnavailable
    return SettingsError
