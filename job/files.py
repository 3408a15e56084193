"""Local files that appear whole or not at all, in one way for the whole job, and their SHA-256.

    with write_whole(path) as file:
        file.write(data)

The content is on the disk before it gets its name, so not even a power cut leaves half a file
under `path`.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

# A killed writer leaves its partial file behind. Nobody takes one for a file with a meaning.
PARTIAL = re.compile(r"\.graft-[0-9a-f]{32}\.partial")

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
        with partial.open("xb") as file:
            yield file
            flush_to_disk(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


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
