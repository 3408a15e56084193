"""From a store to a local file: resumable, verified, and under its final name only when whole."""

import hashlib
import os
import re
from pathlib import Path
from typing import IO

from job.errors import SettingsError, StoreUnavailable
from job.storage.atomic import own
from job.storage.digests import digest
from job.storage.folder_errors import NO_SPACE
from job.storage.store import Entry, Store


def fetch(store: Store, key: str, path: Path, expected: Entry) -> None:
    """`Store.download`."""
    part = _part(path, expected)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for again in (
            False,
            True,
        ):  # the kept part may be what is wrong, so the second attempt starts from nothing
            with own(part, "a+b") as file:
                _continue(store, key, expected, file, from_nothing=again)
                if _agrees(store, key, expected, file):
                    os.fsync(file.fileno())
                    part.rename(path)
                    return
                file.truncate(0)
    except OSError as error:  # the store's own faults have other classes: this is the disk here
        raise _local_fault(error, part, path, expected) from error
    part.unlink(missing_ok=True)
    raise StoreUnavailable(
        f"{store.uri}/{key} arrived twice with a size or checksum that the store does not promise "
        f"(expected {expected.size} bytes, ETag {expected.etag}).",
        "Try again; if it stays, the object is damaged in the store: put it there anew.",
    )


def _part(path: Path, expected: Entry) -> Path:
    """One name for each version of the object: new bytes are never appended to old ones."""
    version = hashlib.sha256(f"{expected.size} {expected.etag}".encode()).hexdigest()[:16]
    return path.with_name(f"{path.name}.{version}.part")


def _continue(store: Store, key: str, expected: Entry, file: IO[bytes], from_nothing: bool) -> None:
    start = os.fstat(file.fileno()).st_size
    if from_nothing or start > expected.size:
        file.truncate(0)
        start = 0
    if start < expected.size or start == 0:
        for piece in store.stream(key, start, expected.etag):
            file.write(piece)
    file.flush()


def _agrees(store: Store, key: str, expected: Entry, file: IO[bytes]) -> bool:
    """Whether the file is what the store promised. An ETag that is the MD5 spares the question what else it knows."""
    if os.fstat(file.fileno()).st_size != expected.size:
        return False
    if re.fullmatch("[0-9a-f]{32}", expected.etag) and digest(file, "md5") == expected.etag:
        return True
    known = store.checksum(key)
    return known is None or digest(file, known.algorithm) == known.hexadecimal


def _local_fault(error: OSError, part: Path, path: Path, expected: Entry) -> SettingsError:
    if error.errno in NO_SPACE:
        part.unlink(missing_ok=True)  # nobody can go on from it here, and others need the room
        cure = f"Give {path.parent} a larger volume."
    else:
        cure = f"Make {path.parent} a folder that the job may write to."
    return SettingsError(
        f"Cannot write the {expected.size} bytes of {expected.key!r} to {path}: {error.strerror}.",
        cure,
    )
