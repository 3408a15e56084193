"""Where a store lies: `s3://bucket/prefix` or `file:///folder`, and nothing else."""

import re
from pathlib import Path
from urllib.parse import unquote

from job.errors import SettingsError
from job.storage.folder import FolderStore
from job.storage.store import Store


def connect(uri: str) -> Store:
    """The store at `uri`, without a word to it yet; every key is relative to that root.

    Args:
        uri: `s3://bucket`, `s3://bucket/prefix` or `file:///folder`. The prefix is a folder:
            `s3://b/cats` never sees `cats-old`. An S3 prefix is taken as it stands; a `file:` path
            may be percent-encoded.

    Raises:
        SettingsError: anything else, with what to write instead; or what the AWS SDK's own settings
        say cannot work.
    """
    scheme, place = _parse(uri)
    if scheme == "file":
        return FolderStore(Path(place))
    from job.storage.s3 import S3Store  # boto3 takes 0.3 s, and a folder does not need it

    bucket, _, prefix = place.partition("/")
    return S3Store.at(bucket, prefix)


def split(uri: str) -> tuple[str, str]:
    """The URI of the folder that `uri` lies in, and its name there: `s3://b/x/data.zip` -> (`s3://b/x`, `data.zip`).

    The root of a bucket or of the file system lies in nothing: it comes back whole, with the name
    "", and no store has an object of that name.
    """
    scheme, place = _parse(uri)
    parent, slash, name = place.rstrip("/").rpartition("/")
    if scheme == "file":
        return Path(parent or "/").as_uri(), name
    return (f"s3://{parent}", name) if slash else (f"s3://{name}", "")


def _parse(uri: str) -> tuple[str, str]:
    """The scheme, and bucket/prefix or an absolute path."""
    scheme, separator, place = uri.partition("://")
    if scheme == "s3" and separator and re.fullmatch(r"[^/@:]+(/.*)?", place, re.DOTALL):
        return scheme, place
    local = unquote(place.removeprefix("localhost"))
    if scheme == "file" and separator and local.startswith("/") and "\0" not in local:
        return scheme, local
    raise SettingsError(
        f"Received {_shown(uri)!r}; expected s3://bucket/prefix or file:///folder.", _cure(uri)
    )


def _shown(uri: str) -> str:
    """`uri` without a user name and password, which some write before the bucket."""
    return re.sub(r"//[^/]*@", "//…@", uri)


def _cure(uri: str) -> str:
    if "@" in uri.partition("://")[2].partition("/")[0]:
        return "Leave credentials to the AWS SDK (AWS_ACCESS_KEY_ID, a shared file, a role), and write s3://bucket/prefix."
    if "://" not in uri and uri:
        return f"Write {Path(uri).absolute().as_uri()}."
    return "Write s3://bucket/prefix, or file:/// and an absolute path (three slashes)."
