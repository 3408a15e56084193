"""What an address of a store may look like, how it is read, and what to write instead of another.

An address is `s3://bucket/prefix`, `s3://<ARN of an access point>/prefix`, `file:///folder`, or a
path, which means the same as `file://`.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

EXPECTED = "expected s3://bucket/prefix or file:///folder"
# An access point has a name and takes the place of a bucket. Only its ARN has colons and slashes.
ACCESS_POINT = re.compile(
    r"arn:[a-z-]+:s3[a-z-]*:[a-z0-9-]*:\d*:"
    r"(?:outpost[:/][^/:]+[:/])?accesspoint[:/][^/:\s]+"
)
BUCKET_ARN = re.compile(r"arn:[a-z-]+:s3:::(.+)")
# Hosts of S3 itself: bucket.s3.region.amazonaws.com, s3.region.amazonaws.com/bucket, and others.
AMAZON_HOST = re.compile(
    r"(?:(?P<bucket>.+)\.)?s3(?:[.-](?:dualstack|fips|accelerate|website))*"
    r"(?:[.-][a-z]{2}(?:-[a-z]+)+-\d)?\.amazonaws\.com(?:\.cn)?"
)
# Stores that put the bucket before the host of their endpoint.
VIRTUAL_HOST = re.compile(
    r"([^.]+)\.([^.]+\.(?:digitaloceanspaces|linodeobjects|vultrobjects|r2\.cloudflarestorage)\.com"
    r"|s3\.(?:[^.]+\.)?(?:wasabisys\.com|backblazeb2\.com|scw\.cloud))"
)
# Sites from which people download data sets with a browser.
WEB_PAGES = re.compile(
    r"(?:.+\.)?(?:kaggle|github|gitlab|dropbox|roboflow|figshare|sharepoint|mega)\.com|"
    r"(?:.+\.)?(?:huggingface\.co|zenodo\.org|1drv\.ms|mega\.nz)|(?:drive|docs)\.google\.com"
)
GOOGLE_HOSTS = ("storage.googleapis.com", "storage.cloud.google.com")
GOOGLE = (
    "Write s3://{}, and set AWS_ENDPOINT_URL_S3=https://storage.googleapis.com with an HMAC key of "
    "Google Cloud Storage as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)
CREDENTIALS = (
    "Leave credentials to the AWS SDK (AWS_ACCESS_KEY_ID, a shared file, a role), and write "
    "s3://bucket/prefix."
)
NOT_SUPPORTED = "{}:// is not supported: copy the files to a bucket of S3, or mount them."
# What copying from a page leaves around an address, and nobody sees.
INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
# The first pattern that fits, with what its groups become.
SUGGESTIONS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), suggestion)
    for pattern, suggestion in (
        # Of these the part before an @ is a container and no password.
        (r"(abfss?|wasbs?)://.*", NOT_SUPPORTED),
        (r"[^:]+://[^/]*@.*", CREDENTIALS),
        # Other names of the protocol: those of Hadoop, of MinIO's client and of Boto.
        (r"(?:s3a|s3n|minio|s3\+https?)://([^/].*)", "Write s3://{}."),
        (r"(?:gs|gcs)://([^/].*)", GOOGLE),
        (rf"(?:s3://)?{BUCKET_ARN.pattern}", "Write s3://{}."),
        (rf"({ACCESS_POINT.pattern}(?:/.*)?)", "Write s3://{}."),
        (r"file:/{1,2}([^/].*)", "Write file:///{} (three slashes before an absolute path)."),
        (r"s3:/?([^/].*)", "Write s3://{}."),
        (
            r"(?:[a-z]:[\\/]|\\\\).*",
            "Write the path as the container sees it, such as file:///data.",
        ),
        (r"\$.*", "The variable was not replaced by its value: write the path itself."),
        # Those of other stores and servers, such as `hdfs://`, `sftp://` and `dbfs:/`.
        (r"((?!s3:|file:|https?:)[a-z][a-z0-9+.-]+):/.*", NOT_SUPPORTED),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the owner of a bucket asks of those who read it.

    Attributes:
        anonymous: send no credentials, as public buckets allow.
        requester_pays: agree to pay for the requests.
    """

    anonymous: bool = False
    requester_pays: bool = False


# With the credentials that the AWS SDK finds, at the owner's cost.
OWN_ACCESS = Access()


class AddressError(ValueError):
    """An address that cannot be used.

    Args:
        received: it, without a password.
        cure: what to write instead.
    """

    def __init__(self, received: str, cure: str) -> None:
        super().__init__(f"{EXPECTED}. {cure.removesuffix('.')}")
        self.received = received
        self.cure = cure


def normalise(text: str) -> str:
    """The address as `s3://…` or `file:///…`.

    Blanks, line ends and characters without a width around it are dropped, and so are the quotes
    that a file of `docker --env-file` keeps. A path becomes a `file:` address.

    Raises:
        AddressError: it cannot be used.
    """
    text = text.strip().strip(INVISIBLE).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    scheme, separator, location = text.partition("://")
    scheme = scheme.lower()
    if scheme == "s3" and separator and split_bucket(location)[0]:
        return f"s3://{location}"
    if scheme == "file" and separator:
        path = unquote(location.removeprefix("localhost"))
        if path.startswith("/") and "\0" not in path:
            return f"file://{location.removeprefix('localhost')}"
    if _is_path(text):
        # A `~` of a user without a home folder stays as it is.
        with suppress(RuntimeError):
            text = str(Path(text).expanduser())
        try:
            return Path(text).absolute().as_uri()
        except FileNotFoundError as error:
            raise AddressError(
                text, "The working directory was removed: write an absolute path."
            ) from error
    # Some people write a user name and a password before the bucket: they must not be repeated.
    raise AddressError(re.sub(r"//[^/]*@", "//…@", text), suggest_address(text))


def split_bucket(location: str) -> tuple[str, str]:
    """Bucket and prefix of what follows `s3://`. The bucket is empty if none can be read."""
    if match := ACCESS_POINT.match(location):
        bucket, rest = match.group(), location[match.end() :]
        return (bucket, rest[1:]) if rest[:1] in ("", "/") else ("", "")
    bucket, _, prefix = location.partition("/")
    return (bucket, prefix) if re.fullmatch(r"[^@:\s]+", bucket) else ("", "")


def _is_path(text: str) -> bool:
    if not text or "\0" in text or "://" in text:
        return False
    # Not a share of Windows, nor a variable that no shell has replaced.
    if text.startswith("\\\\") or re.match(r"\$(\w|\{)", text):
        return False
    # Not `C:\…`, `file:/…`, `arn:…` or `s3:/…`.
    return ":" not in text.partition("/")[0]


def suggest_address(text: str) -> str:
    """What to write instead of an address that cannot be used."""
    for pattern, suggestion in SUGGESTIONS:
        if match := pattern.fullmatch(text):
            return suggestion.format(*match.groups())
    if re.match(r"https?://[^/]", text, re.IGNORECASE):
        return _suggest_web(text)
    return "Write s3://bucket/prefix, or file:/// and an absolute path (three slashes)."


def _suggest_web(text: str) -> str:
    """The address behind one of a browser: of an object, of a console or of another server."""
    parts = urlsplit(text)
    # Not `hostname`, which is in small letters, and not the part after `?`, such as a signature.
    host, path = parts.netloc, unquote(parts.path).lstrip("/")
    if match := AMAZON_HOST.fullmatch(host.lower()):
        bucket = match.group("bucket")
        return f"Write s3://{bucket}/{path}." if bucket else f"Write s3://{path}."
    if host.endswith("console.aws.amazon.com") and "/buckets/" in parts.path:
        bucket = parts.path.partition("/buckets/")[2].partition("/")[0]
        prefix = parse_qs(parts.query).get("prefix", [""])[0]
        return f"Write s3://{bucket}/{prefix}."
    return _suggest_for_site(host, path) or _suggest_for_server(parts.scheme, host, path)


def _suggest_for_site(host: str, path: str) -> str:
    """What to write instead of an address of a known site. Empty for another one."""
    if host == "console.cloud.google.com" and path.startswith("storage/browser/"):
        return GOOGLE.format(path.removeprefix("storage/browser/"))
    if host in GOOGLE_HOSTS:
        return GOOGLE.format(path)
    if WEB_PAGES.fullmatch(host.lower()):
        return "Data sets of a web page are not read: download it, and give the folder or archive."
    if host.endswith(".blob.core.windows.net"):
        return "Azure's store does not speak S3: copy the files to a bucket, or mount them."
    return ""


def _suggest_for_server(scheme: str, host: str, path: str) -> str:
    """What to write instead of an address of a server that may speak S3."""
    if match := VIRTUAL_HOST.fullmatch(host):
        bucket, endpoint = match.groups()
        return f"Write s3://{bucket}/{path}, and set AWS_ENDPOINT_URL_S3={scheme}://{endpoint}."
    if path.startswith("browser/"):
        # The console of MinIO, which has another port than its API.
        path = path.removeprefix("browser/")
        return f"Write s3://{path}, and set AWS_ENDPOINT_URL_S3 to the S3 API of that server."
    if not path:
        return f"Write s3://bucket/prefix, and set AWS_ENDPOINT_URL_S3={scheme}://{host}."
    written = f"Write s3://{path}, and set AWS_ENDPOINT_URL_S3={scheme}://{host}."
    return f"{written} If it is no store of S3, download the files, and give their path."
