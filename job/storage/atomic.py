"""Objects of a folder: they appear whole or not at all, and change under a condition.

The content is first written to a partial file beside the target. That file gets the target's name
by `link`, which fails if the target exists, or by `rename`. A writer that renames over a file holds
a lock on that very file: the file that is locked, compared and replaced is the same. No lock file
is left behind. Over NFS both work between machines.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from job import files
from job.storage.digests import PIECE_BYTES, compute_checksum


def create(target: Path, source: IO[bytes]) -> bool:
    """Write `source` to `target` if there is no file. Returns whether this call wrote it."""
    with _write_partial(target, source) as partial:
        return _link_to(partial, target)


def replace(target: Path, source: IO[bytes], etag: str) -> bool:
    """Write `source` over `target` if its content has `etag`. Returns whether it had."""
    with _write_partial(target, source) as partial:
        return _rename_over(partial, target, etag)


def put(target: Path, source: IO[bytes]) -> None:
    """Write `source` to `target`, whether there is a file or not."""
    with _write_partial(target, source) as partial:
        # Between the two attempts another writer may create or delete the file: then try again.
        while not (_rename_over(partial, target) or _link_to(partial, target)):
            pass


def remove(path: Path) -> bool:
    """Delete a file or link. Returns whether that took an object away.

    A partial file is not an object, and one that somebody is still writing stays.
    """
    try:
        if not files.PARTIAL.fullmatch(path.name):
            path.unlink()
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    files.remove_unused(path)
    return False


@contextmanager
def open_locked(path: Path, mode: str = "r+b") -> Iterator[IO[bytes]]:
    """The file at `path`, open and locked."""
    while True:
        with path.open(mode) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The previous holder of the lock may have put another file in its place.
            if files.is_still_at(file, path):
                yield file
                return


def _link_to(partial: Path, target: Path) -> bool:
    """Give the partial file the name of `target`, unless that exists. Returns whether it did."""
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    files.sync_folder(target.parent)
    return True


def _rename_over(partial: Path, target: Path, etag: str | None = None) -> bool:
    """Replace `target` by the partial file if it exists with `etag`. Returns whether it did."""
    try:
        with open_locked(target) as file:
            if etag is not None and compute_checksum(file, "md5") != etag:
                return False
            partial.rename(target)
    except FileNotFoundError:
        return False
    files.sync_folder(target.parent)
    return True


@contextmanager
def _write_partial(target: Path, source: IO[bytes]) -> Iterator[Path]:
    """A copy of `source` beside `target`, on the disk and locked. It is gone after the block."""
    partial = files.name_partial(target)
    try:
        with files.create_locked(partial) as file:
            shutil.copyfileobj(source, file, PIECE_BYTES)
            files.flush_to_disk(file)
            yield partial
    finally:
        partial.unlink(missing_ok=True)
