"""Files that appear whole or not at all, also after a power cut, and change hands under a condition.

A synced draft beside the target gets the target's name by `link` (which fails where there is a
file) or by `rename`. Who renames over a file holds a lock on that very file: what is locked,
compared and replaced is one and the same. No lock file is left behind, and over NFS both work
between machines.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from job.storage.digests import PIECE_BYTES, digest

DRAFT = re.compile(r"\.graft-[0-9a-f]{32}\.partial")


def create(target: Path, source: IO[bytes]) -> bool:
    """Write `source` to `target` if there is no file; whether this call was the one."""
    with _draft(target, source) as draft:
        return _linked(draft, target)


def replace(target: Path, source: IO[bytes], etag: str) -> bool:
    """Write `source` over `target` if its content is `etag`; whether it was."""
    with _draft(target, source) as draft:
        return _renamed(draft, target, etag)


def put(target: Path, source: IO[bytes]) -> None:
    """Write `source` to `target`, whatever was there."""
    with _draft(target, source) as draft:
        while not (_renamed(draft, target) or _linked(draft, target)):
            pass  # a file came or went in between


def remove(path: Path) -> bool:
    """Delete a file or link, whether that took an object away; a draft that somebody is still writing stays."""
    try:
        if not DRAFT.fullmatch(path.name):
            path.unlink()
            return True
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (FileNotFoundError, NotADirectoryError, BlockingIOError):
        pass
    return False


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, so that they survive a power cut too."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


@contextmanager
def own(path: Path, mode: str = "r+b") -> Iterator[IO[bytes]]:
    """The file that `path` names, open and locked: whoever held the lock before may have put another in its place."""
    while True:
        with path.open(mode) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _named(file, path):
                yield file
                return


def _named(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _linked(draft: Path, target: Path) -> bool:
    try:
        os.link(draft, target)
    except FileExistsError:
        return False
    _sync(target.parent)
    return True


def _renamed(draft: Path, target: Path, etag: str | None = None) -> bool:
    try:
        with own(target) as file:
            if etag is not None and digest(file, "md5") != etag:
                return False
            draft.rename(target)
    except FileNotFoundError:
        return False
    _sync(target.parent)
    return True


@contextmanager
def _draft(target: Path, source: IO[bytes]) -> Iterator[Path]:
    """A synced copy of `source` in the folder of `target`, gone afterwards unless it was renamed."""
    draft = target.with_name(f".graft-{uuid4().hex}.partial")
    try:
        with _new(draft) as file:
            shutil.copyfileobj(source, file, PIECE_BYTES)
            file.flush()
            os.fsync(file.fileno())
            yield draft
    finally:
        draft.unlink(missing_ok=True)


def _new(path: Path) -> IO[bytes]:
    """An empty file, locked, and its folder: whoever deletes there may take either before the lock is held."""
    while True:
        try:
            make_folder(path.parent)
            file = path.open("xb")
        except FileNotFoundError:
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        if _named(file, path):
            return file
        file.close()


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # deleted since, with all that it held
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
