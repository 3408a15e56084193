"""From an address to its store. `job.addresses` says what an address may look like."""

from pathlib import Path
from urllib.parse import unquote

from job import addresses
from job.addresses import OWN_ACCESS, Access
from job.errors import SettingsError
from job.storage.folder import FolderStore
from job.storage.store import Store


def connect(uri: str, access: Access = OWN_ACCESS) -> Store:
    """The store at `uri`, without a request to it yet. Every key is relative to that root.

    Args:
        uri: `s3://bucket`, `s3://bucket/prefix`, `file:///folder` or a path. The prefix is a
            folder: `s3://b/cats` never sees `cats-old`. An S3 prefix is taken literally. A `file:`
            path may be percent-encoded. The ARN of an access point may take the bucket's place.
        access: how requests to S3 are made.

    Raises:
        SettingsError: any other address, with what to write instead, or settings of the AWS SDK
            that cannot work.
    """
    scheme, root, path = _parse_uri(uri)
    if scheme == "file":
        return FolderStore(Path(path))

    # Imported late because boto3 takes 0.3 s, and a folder does not need it.
    from job.storage.s3 import S3Store

    return S3Store.connect(root, path, access)


def split_uri(uri: str) -> tuple[str, str]:
    """The URI of the parent folder and the name: `s3://b/x/data.zip` -> (`s3://b/x`, `data.zip`).

    The root of a bucket or of the file system has no parent: it comes back whole, with the name "".
    No store has an object of that name.
    """
    scheme, root, path = _parse_uri(uri)
    parent, slash, name = path.rstrip("/").rpartition("/")
    if scheme == "file":
        return Path(parent or "/").as_uri(), name
    return f"s3://{root}{slash}{parent}", name


def _parse_uri(uri: str) -> tuple[str, str, str]:
    """The scheme, the bucket or nothing, and the prefix or an absolute path."""
    try:
        scheme, _, location = addresses.normalise(uri).partition("://")
    except addresses.AddressError as error:
        raise SettingsError(
            f"Received {error.received!r}; {addresses.EXPECTED}.", error.cure
        ) from error
    if scheme == "file":
        return scheme, "", unquote(location)
    return scheme, *addresses.split_bucket(location)
