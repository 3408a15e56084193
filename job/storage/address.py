"""Addresses of stores: `s3://bucket/prefix` or `file:///folder`, and nothing else."""

import re
from pathlib import Path
from urllib.parse import unquote

from job.errors import SettingsError
from job.storage.folder import FolderStore
from job.storage.store import Store


def connect(uri: str) -> Store:
    """The store at `uri`, without a request to it yet. Every key is relative to that root.

    Args:
        uri: `s3://bucket`, `s3://bucket/prefix` or `file:///folder`. The prefix is a folder:
            `s3://b/cats` never sees `cats-old`. An S3 prefix is taken literally. A `file:` path
            may be percent-encoded.

    Raises:
        SettingsError: any other address, with what to write instead, or settings of the AWS SDK
            that cannot work.
    """
    scheme, location = _parse_uri(uri)
    if scheme == "file":
        return FolderStore(Path(location))

    # Imported late because boto3 takes 0.3 s, and a folder does not need it.
    from job.storage.s3 import S3Store

    bucket, _, prefix = location.partition("/")
    return S3Store.connect(bucket, prefix)


def split_uri(uri: str) -> tuple[str, str]:
    """The URI of the parent folder and the name: `s3://b/x/data.zip` -> (`s3://b/x`, `data.zip`).

    The root of a bucket or of the file system has no parent: it comes back whole, with the name "".
    No store has an object of that name.
    """
    scheme, location = _parse_uri(uri)
    parent, slash, name = location.rstrip("/").rpartition("/")
    if scheme == "file":
        return Path(parent or "/").as_uri(), name
    if not slash:
        return f"s3://{name}", ""
    return f"s3://{parent}", name


def _parse_uri(uri: str) -> tuple[str, str]:
    """The scheme, and bucket/prefix or an absolute path."""
    scheme, separator, location = uri.partition("://")
    if scheme == "s3" and separator and re.fullmatch(r"[^/@:]+(/.*)?", location, re.DOTALL):
        return scheme, location

    path = unquote(location.removeprefix("localhost"))
    if scheme == "file" and separator and path.startswith("/") and "\0" not in path:
        return scheme, path

    # Some people write a user name and a password before the bucket: they must not be repeated.
    harmless = re.sub(r"//[^/]*@", "//…@", uri)
    raise SettingsError(
        f"Received {harmless!r}; expected s3://bucket/prefix or file:///folder.",
        _suggest_address(uri),
    )


def _suggest_address(uri: str) -> str:
    """What to write instead of an address that cannot be used."""
    scheme, separator, location = uri.partition("://")
    if "@" in location.partition("/")[0]:
        return (
            "Leave credentials to the AWS SDK (AWS_ACCESS_KEY_ID, a shared file, a role), "
            "and write s3://bucket/prefix."
        )
    if scheme and not separator:
        return f"Write {Path(uri).absolute().as_uri()}."
    return "Write s3://bucket/prefix, or file:/// and an absolute path (three slashes)."
