"""Files of a `file://` folder, which are read in place and must not change while a run lasts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

from job import files
from job.dataset.cache import DatasetCache, File
from job.dataset.names import printable
from job.errors import DatasetError, StoreConflict
from job.storage import Entry, Store


def find_local_folder(store: Store) -> Path | None:
    """The folder of a `file://` store, whose files need no download."""
    scheme, _, path = store.uri.partition("://")
    if scheme != "file":
        return None
    return Path(os.fsdecode(unquote_to_bytes(path)))


def hash_in_place(folder: Path, entry: Entry, cache: DatasetCache) -> File:
    """The file of an entry, hashed unless any run has hashed this version before.

    Raises:
        StoreConflict: it is gone, or no longer the file that was listed.
        DatasetError: it cannot be read.
    """
    path = folder / entry.key
    known = cache.find_sha256(entry)
    with _report_local_faults(path):
        sha256 = known or files.sha256(path)
    require_as_listed(path, entry)
    if not known:
        cache.remember(entry, sha256)
    return File(str(path), sha256, entry.size)


def require_as_listed(path: Path, entry: Entry) -> None:
    """Refuse a local file that was written to since the listing: its ETag is no longer true."""
    with _report_local_faults(path):
        status = path.stat()
    if (status.st_size, status.st_mtime) != (entry.size, entry.modified):
        raise StoreConflict(f"{printable(str(path))} is no longer the file that was listed.")


@contextmanager
def _report_local_faults(path: Path) -> Iterator[None]:
    """Raise one of our errors for an OSError about a file that is read in place."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreConflict(f"{printable(str(path))} is gone.") from error
    except OSError as error:
        raise DatasetError(
            f"Cannot read {printable(str(path))}: {error.strerror}.",
            "Make the file readable, or remove it.",
        ) from error
