"""Local files that appear whole or not at all, in one way for the whole job, and their SHA-256.

    with write_whole(path) as file:
        file.write(data)

The content is on the disk before it gets its name, so not even a power cut leaves half a file
under `path`. A killed writer leaves a partial file or a scratch folder behind. Who writes one holds
a lock on it, which ends with the process. So the next start knows which of them nobody uses.
"""

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

logger = logging.getLogger(__name__)

# Nobody takes a partial file for a file with a meaning.
PARTIAL = re.compile(r"\.graft-[0-9a-f]{32}\.partial")

# What a download has received so far. The next one of the same object goes on from it.
PART = re.compile(r".+\.[0-9a-f]{16}\.part")
# What nobody has touched for so long is unused: longer than a weekend.
UNUSED_SECONDS = 7 * 24 * 3600

# In each scratch folder. A folder `graft-…` that somebody made by hand has no such file.
SCRATCH_LOCK = ".graft-lock"

# What a file takes on a disk is a number of these.
BLOCK_BYTES = 4096

# What the operating system answers when a volume, a quota or a limit on file sizes is exhausted.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` when the block ends, and vanishes if the block fails.

    Missing folders are made. Any number of writers may do this at once: the last one wins.

    Raises:
        OSError: the disk is full or not writable. Whatever was at `path` is still there.
    """
    make_folder(path.parent)
    partial = name_partial(path)
    try:
        with create_locked(partial) as file:
            yield file
            flush_to_disk(file)
            # While it is locked: without the lock it is what a killed writer has left.
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def write_named(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that somebody has named. Where it can be replaced, it is whole or absent.

    Devices, pipes and the streams of this process (`/dev/stdout`) are written to. The process may
    be root, and would put a file in the place of a device. Of a link, what it leads to is replaced.

    Raises:
        OSError: it cannot be written. A pipe that nobody reads is not waited for.
    """
    if not _is_stream(path):
        with write_whole(Path(os.path.realpath(path))) as file:
            yield file
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _is_stream(path: Path) -> bool:
    """Whether a name leads to what is no file, or to what is open as stdout or stderr."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return True
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return True
    return False


def create_locked(path: Path) -> IO[bytes]:
    """A new empty file, locked, in a folder that is made if need be."""
    while True:
        # A process that deletes there may take the folder or the file before the lock is held.
        try:
            make_folder(path.parent)
            file = path.open("xb")
        except FileNotFoundError:
            continue
        # Without locks in this file system nobody can sweep there either.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if is_still_at(file, path):
            return file
        file.close()


def is_still_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one that has the name `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def remove_unused(path: Path) -> bool:
    """Delete a partial file that no process is writing. Returns whether it did."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # somebody writes it, it is gone, or it is another user's
        return False
    return True


class NoScratch(OSError):
    """No folder for temporary files can be written."""


@contextmanager
def open_scratch() -> Iterator[Path]:
    """A new folder for temporary files, which is gone after the block.

    A folder that a killed process has left is removed by `sweep_scratch`.

    Raises:
        NoScratch: no folder for temporary files can be written.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="graft-"))
    except OSError as error:
        raise NoScratch(*error.args) from error
    try:
        # Locked before it has the name by which others look for it.
        with create_locked(folder / "lock") as lock:
            Path(lock.name).rename(folder / SCRATCH_LOCK)
            scratch = folder / "files"
            scratch.mkdir()
            yield scratch
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch() -> int:
    """Remove the scratch folders of killed processes. Returns how many there were."""
    count = 0
    with suppress(OSError):
        for lock in Path(tempfile.gettempdir()).glob(f"graft-*/{SCRATCH_LOCK}"):
            if remove_unused(lock):
                shutil.rmtree(lock.parent, ignore_errors=True)
                logger.info("%s of a killed run was removed", lock.parent)
                count += 1
    return count


def sweep_partials(folder: Path) -> int:
    """Remove what killed writers have left below `folder`. Returns how many files.

    A download that was cut off stays for a week, so that the next run can go on with it.

    Args:
        folder: one of Graft's own, since every file below it is looked at. It need not exist.
    """
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            is_abandoned = PART.fullmatch(name) and is_old(path)
            if (PARTIAL.fullmatch(name) or is_abandoned) and remove_unused(path):
                count += 1
    if count:
        logger.info("partial files of killed runs removed from %s: %d", folder, count)
    return count


def is_old(path: Path) -> bool:
    """Whether a file or folder was not touched for a week. False if it is gone."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > UNUSED_SECONDS
    return False


def round_to_blocks(size: int) -> int:
    """Bytes that a file of this size takes on a disk."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def count_disk_bytes(folder: Path) -> int:
    """Bytes that the files below a folder take on a disk. It need not exist."""
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            # Other processes add and delete files at any time.
            with suppress(FileNotFoundError):
                count += round_to_blocks(Path(parent, name).stat().st_size)
    return count


def name_partial(path: Path) -> Path:
    """A new name in the folder of `path`, so that a rename to `path` stays in one file system."""
    return path.with_name(f".graft-{uuid4().hex}.partial")


def flush_to_disk(file: IO[bytes]) -> None:
    """Return once the content of an open file would survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut. A folder that is gone needs nothing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
