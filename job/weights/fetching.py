"""Download weights from a store, or from where Keras publishes them: whole, or not at all."""

import hashlib
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import IO

from job.errors import StoreNotFound, TemporaryError, WeightsError
from job.files import remove_unused, write_whole
from job.storage import Store, download

TIMEOUT_SECONDS = 60
# HTTP statuses below 500 that another attempt may change: timeout and too many requests.
TEMPORARY_STATUSES = {408, 429}


def fetch_from_store(store: Store, key: str, folder: Path) -> Path:
    """Download an object to `folder/<digest of address and version>/<name>`, unless it is there.

    Raises:
        StoreNotFound: there is no such object.
    """
    entry = store.head(key)
    if entry is None:
        raise StoreNotFound(f"There is no object {store.uri}/{key}.")
    # The version is part of the name, so that a replaced object is downloaded again.
    path = _cache_path(folder, f"{store.uri}/{key} {entry.etag} {entry.size}", key)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        download(store, key, path, entry)
    # What killed runs have left of other downloads, unless somebody is at it.
    for part in folder.glob("*/*.part"):
        remove_unused(part)
    return path


def fetch_from_origin(url: str, folder: Path, name: str, cure: str) -> Path:
    """Download the file that Keras would, to `folder/<digest of the address>/<name>`.

    Raises:
        WeightsError: the address cannot be reached or has no such file.
        TemporaryError: the download broke off or the server is overloaded.
    """
    path = _cache_path(folder, url, name)
    if path.is_file():
        return path
    with write_whole(path) as target:
        _download_url(url, target, cure)
    return path


def _download_url(url: str, target: IO[bytes], cure: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            shutil.copyfileobj(answer, target)
            # What is still missing: reading in blocks does not complain about a short answer.
            if answer.length:
                raise IncompleteRead(b"", answer.length)
    except urllib.error.HTTPError as error:
        # The error holds the open connection.
        error.close()
        kind = (
            TemporaryError
            if error.code >= 500 or error.code in TEMPORARY_STATUSES
            else WeightsError
        )
        raise kind(
            f"The weights at {url} cannot be downloaded: the server answered {error.code}.", cure
        ) from error
    except urllib.error.URLError as error:
        raise WeightsError(
            f"The weights at {url} cannot be downloaded: {error.reason}.", cure
        ) from error
    except (OSError, HTTPException) as error:
        raise TemporaryError(f"The download of {url} broke off: {error}.", cure) from error


def _cache_path(folder: Path, identity: str, name: str) -> Path:
    return folder / hashlib.sha256(identity.encode()).hexdigest() / Path(name).name
