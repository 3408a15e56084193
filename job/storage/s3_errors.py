"""What the AWS SDK and an S3 server say, in our words: whose fault, and whether a retry helps.

`BY_CLASS` is searched along the exception's bases, and names nothing as general as `BotoCoreError`:
a class that a new botocore brings is thereby found by a test, not by a user.
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

NOT_FOUND = {"NoSuchBucket", "NoSuchKey", "NotFound", "NoSuchUpload"}
CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict"}
FORBIDDEN = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}  # not always with status 403
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
    StoreForbidden: "Check the AWS credentials and that they may list, read, write and delete there; and the clock.",
    StoreUnavailable: "Check the endpoint (AWS_ENDPOINT_URL_S3), the network and AWS_CA_BUNDLE; a retry resumes.",
    SettingsError: "Check the URI, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 and the AWS SDK's shared file.",
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
    botocore.CredentialRetrievalError: StoreUnavailable,  # the cluster's credential service, not the right itself
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
    # What the environment, the shared file or the URI says cannot work.
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
    botocore.ParamValidationError: SettingsError,  # in practice a bucket's name that cannot be one
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
def translated(address: str) -> Iterator[None]:
    """Let what the SDK raises leave as one of ours, with `address` in its message."""
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError) as error:
        raise translate(error, address) from error


def translate(error: Exception, address: str) -> JobError:
    """The error of ours for one of the SDK's. The SDK's own texts hold no secret."""
    kind = (
        _by_answer(error) if isinstance(error, ClientError) else by_class(type(error)) or JobError
    )
    return kind(f"{address}: {str(error).rstrip('.')}.", CURES[kind])


def by_class(error: type[Exception]) -> Kind | None:
    """The class of ours that an exception class of the SDK stands for; None if nobody has decided."""
    return next((BY_CLASS[base] for base in error.__mro__ if base in BY_CLASS), None)


def _by_answer(error: ClientError) -> Kind:
    """The class for an S3 server's error answer: by its code where that says more than the HTTP status."""
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
