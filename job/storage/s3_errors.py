"""Errors of the AWS SDK and of S3 servers, translated to ours: whose fault, and does a retry help.

`BY_CLASS` is searched along the exception's bases. It holds nothing as general as `BotoCoreError`,
so that a test finds a class that a new botocore adds, before a user does.
"""

import re
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
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
FORBIDDEN = {
    "AccessDenied",
    "InvalidIdentityToken",
    "InvalidToken",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "IncompleteSignature",
    "RequestExpired",
    *EXPIRED,
}
# The prefix of codes about the key with which S3 has encrypted an object.
KEY_FAULT = "KMS."
# In the text of a 400 about an object that its owner encrypts with a key of their own (SSE-C).
OWN_KEY = "Server Side Encryption"
# The object is in a storage class from which it has to be restored first.
COLD = {"InvalidObjectState"}
BUSY = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "BadDigest",
    "IncompleteBody",
    # Of the services that give credentials, with status 400.
    "IDPCommunicationError",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestTimeoutException",
    "TooManyRequestsException",
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

NO_CREDENTIALS = (
    "Give the AWS SDK credentials (a role, AWS_ACCESS_KEY_ID, a shared file). A public bucket of "
    "images needs none: set GRAFT_DATASET_ANONYMOUS=true."
)
ACCESS_DENIED = (
    f"{CURES[StoreForbidden]} If the owner of the bucket of images has its readers pay, set "
    "GRAFT_DATASET_REQUESTER_PAYS=true."
)
RESTORE = (
    "Restore the objects (aws s3api restore-object) and wait until that is done, or copy them to a "
    "storage class that can be read at once."
)
KEY = (
    "Check that the key of KMS is enabled, and that the credentials may use it: kms:Decrypt to "
    "read, and kms:GenerateDataKey to write."
)
OTHER_ENCRYPTION = (
    "Objects that their owner encrypts with a key of their own (SSE-C) are not read. Copy them "
    "with another encryption."
)
PLAIN_HTTP = "Write http:// in AWS_ENDPOINT_URL_S3, or the port on which the server speaks HTTPS."
UNTRUSTED = (
    "Set AWS_CA_BUNDLE to a file with the certificate of the authority that signed the server's "
    "(PEM), and check the host name in AWS_ENDPOINT_URL_S3 and the clock."
)
NO_S3 = (
    "Set AWS_ENDPOINT_URL_S3 to the S3 API of the server. A console or a web page often has "
    "another port."
)
TOKEN_FILE = (
    "It is named by AWS_WEB_IDENTITY_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, or by "
    "the AWS SDK's shared file. Mount it (in Kubernetes: the service account's token), or unset "
    "the variable."
)
# Our own mark in the headers of an answer that is a web page.
WEB_PAGE = "graft-web-page"
# What OpenSSL says of a server that answers in plain HTTP.
NOT_TLS = re.compile("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNKNOWN_PROTOCOL|HTTP_REQUEST")

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
    except OSError as error:
        # Of the SDK's own files. It renews the credentials during any request.
        if error.filename is None:
            raise
        raise explain_unreadable_file(error, address) from error


def translate_error(error: Exception, address: str) -> JobError:
    """The error of ours for one of the SDK's, whose texts contain no secrets."""
    message = f"{address}: {str(error).rstrip('.: ')}."
    if isinstance(error, ClientError):
        return _explain_answer(error, address, message)
    if isinstance(error, botocore.NoCredentialsError):
        return StoreForbidden(message, NO_CREDENTIALS)
    if isinstance(error, botocore.SSLError):
        if NOT_TLS.search(message):
            received = "the endpoint is https://, and the server does not answer in TLS"
            return SettingsError(f"{address}: {received}: {error}.", PLAIN_HTTP)
        if "CERTIFICATE_VERIFY_FAILED" in message:
            return SettingsError(message, UNTRUSTED)
    if isinstance(error, botocore.HTTPClientError) and isinstance(
        error.kwargs.get("error"), RecursionError
    ):
        received = "the server redirects without an end, as S3 does not"
        return SettingsError(f"{address}: {received}.", NO_S3)
    kind = find_kind(type(error)) or JobError
    return kind(message, CURES[kind])


def explain_unreadable_file(error: OSError, address: str) -> SettingsError:
    """The error for a file that the SDK is told to read and cannot."""
    received = f"cannot read {error.filename}: {error.strerror}"
    return SettingsError(f"{address}: {received}.", TOKEN_FILE)


def _explain_answer(error: ClientError, address: str, message: str) -> JobError:
    """The error of ours for an error answer of an S3 server."""
    kind = _classify_answer(error)
    answer = error.response.get("Error", {})
    code = answer.get("Code", "")
    metadata = error.response.get("ResponseMetadata", {})
    status, headers = metadata.get("HTTPStatusCode", 0), metadata.get("HTTPHeaders", {})
    if WEB_PAGE in headers:
        return SettingsError(f"{address}: the server's answer is a web page.", NO_S3)
    is_page = headers.get("content-type", "").startswith("text/html")
    if kind is not StoreUnavailable and (not code or (is_page and code == str(status))):
        return kind(f"{address}: the server answered {status} without an error of S3.", NO_S3)
    if code in COLD:
        storage_class = answer.get("StorageClass") or error.response.get("StorageClass", "")
        named = f" ({storage_class})" if storage_class else ""
        received = f"the object is in a cold storage class{named} and has not been restored"
        return StoreForbidden(f"{address}: {received}.", RESTORE)
    return kind(message, _choose_cure(kind, code, message))


def _choose_cure(kind: Kind, code: str, message: str) -> str:
    if code.startswith(KEY_FAULT):
        return KEY
    if code == "InvalidRequest" and OWN_KEY in message:
        return OTHER_ENCRYPTION
    return ACCESS_DENIED if code == "AccessDenied" else CURES[kind]


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
    # Some services answer with 400 that they are asked too often.
    is_busy = code in BUSY or "SlowDown" in code or "Throttl" in code
    if code in FORBIDDEN or code.startswith(KEY_FAULT) or status in (401, 403):
        return StoreForbidden
    if is_busy or status in (408, 409, 429) or status >= 500:
        return StoreUnavailable
    return SettingsError
