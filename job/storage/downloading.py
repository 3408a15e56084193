"""From a store to a local file: resumable, verified, and under its final name only when whole."""

import hashlib
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import IO, cast

from job.errors import SettingsError, StoreUnavailable
from job.files import NO_SPACE, flush_to_disk, make_folder
from job.storage.atomic import open_locked
from job.storage.digests import compute_checksum
from job.storage.store import ContentDamaged, Entry, Store


def download(store: Store, key: str, path: Path, expected: Entry, *, durable: bool = True) -> None:
    """Download an object to the local `path`, which is whole and verified or not there at all.

    The bytes go through `<path>.<version>.part`, which a later call continues. Each version of the
    object has its own part. Size and checksum (`Store.checksum`) are verified before the file gets
    its name.

    Args:
        store: where the object is.
        key: of the object.
        path: where its content goes.
        expected: the version that is wanted.
        durable: whether a file of this name is whole even after a power cut. Otherwise it may be
            shorter then.

    Raises:
        StoreConflict: the object is no longer the `expected` one.
        StoreUnavailable: the store broke off, or twice sent what it does not promise.
        SettingsError: the local disk is full or not writable.
    """
    # One name for each version of the object: new bytes are never appended to old ones.
    version = hashlib.sha256(f"{expected.size} {expected.etag}".encode()).hexdigest()[:16]
    part = path.with_name(f"{path.name}.{version}.part")
    try:
        make_folder(path.parent)
        # The kept part may be what is wrong, so the second attempt starts from nothing.
        for from_nothing in (False, True):
            with open_locked(part, "a+b") as file:
                if from_nothing:
                    file.truncate(0)
                if _receive(store, key, expected, file):
                    if durable:
                        flush_to_disk(file)
                    part.rename(path)
                    return
                file.truncate(0)
    except OSError as error:
        # Faults of the store have other classes, so this is the local disk.
        raise _describe_local_fault(error, part, path, expected) from error

    part.unlink(missing_ok=True)
    raise StoreUnavailable(
        f"{store.uri}/{key} arrived twice with a size or checksum that the store does not promise "
        f"(expected {expected.size} bytes, ETag {expected.etag}).",
        "Try again. If it fails again, the object is damaged in the store: upload it once more.",
    )


def _receive(store: Store, key: str, expected: Entry, file: IO[bytes]) -> bool:
    """Append the bytes that the file lacks. Returns whether it is the object now."""
    start = os.fstat(file.fileno()).st_size
    if start > expected.size:
        file.truncate(0)
        start = 0
    was_verified = None
    # An empty object is asked for too: only the store can say that it is still that version.
    if start < expected.size or start == 0:
        try:
            was_verified = _append_pieces(store.stream(key, start, expected.etag), file)
        except ContentDamaged:
            # Unless the checksum that was sent is wrong: the ETag may be the MD5.
            was_verified = False
    file.flush()
    if os.fstat(file.fileno()).st_size != expected.size:
        return False
    return was_verified or _matches_store(store, key, expected, file)


def _append_pieces(pieces: Generator[bytes, None, bool | None], file: IO[bytes]) -> bool | None:
    """Write all pieces. Returns what the generator returns."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            return cast("bool | None", end.value)
        file.write(piece)


def _matches_store(store: Store, key: str, expected: Entry, file: IO[bytes]) -> bool:
    """Whether the file has a checksum that the store promises."""
    # Where the ETag is the MD5, it spares a request for another checksum.
    is_md5 = re.fullmatch("[0-9a-f]{32}", expected.etag) is not None
    if is_md5 and compute_checksum(file, "md5") == expected.etag:
        return True
    known = store.checksum(key)
    return known is None or compute_checksum(file, known.algorithm) == known.hexadecimal


def _describe_local_fault(error: OSError, part: Path, path: Path, expected: Entry) -> SettingsError:
    if error.errno in NO_SPACE:
        # The download cannot be continued on this disk, and others need the space.
        part.unlink(missing_ok=True)
        cure = f"Give {path.parent} a larger volume."
    else:
        cure = f"Make {path.parent} a folder that the job may write to."
    return SettingsError(
        f"Cannot write the {expected.size} bytes of {expected.key!r} to {path}: {error.strerror}.",
        cure,
    )
