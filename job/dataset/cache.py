"""The files of all runs, kept once by content below one folder, which may be a volume that pods share.

    objects/ab/abcd…          a file named by its SHA-256; it appears by rename, whole or not at all
    index/<root>/<run>.jsonl  a line for each arrival: [key, size, etag, sha256]; one writer each,
    read by all incoming/<n>/             half-arrived files of the one run that holds
    `incoming/<n>.lock`

No name here comes from a key. A content is hashed when it enters and its size is checked at each
use: an object that was lost or cut short since is fetched again. Nothing is evicted.
"""

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from job import files
from job.errors import SettingsError
from job.storage import Entry

BLOCK_BYTES = 4096  # What a file of one byte takes on a disk.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A local file with known content; size in bytes."""

    path: Path
    sha256: str
    size: int


@contextmanager
def opened(folder: Path, limit: int | None, root: str) -> Iterator["DatasetCache"]:
    """The cache below `folder`, held by this run while files of the store root `root` arrive.

    Half-arrived files stay after a failure, so that the next run goes on from them, and go after a
    success.

    Raises:
        SettingsError: the folder cannot be written, or its disk is full; nothing half-written has a
        final name then.
    """
    folder = folder.expanduser()
    with _writable(folder), _desk(folder / "incoming") as desk:
        with closing(
            _Index(folder / "index" / hashlib.sha256(root.encode()).hexdigest()[:32])
        ) as index:
            yield DatasetCache(folder, limit, index, desk)
        for left_over in desk.iterdir():
            left_over.unlink()


class DatasetCache:
    """One run's hold on the cache. Safe to share between threads."""

    def __init__(self, folder: Path, limit: int | None, index: "_Index", desk: Path) -> None:
        self._folder = folder
        self._limit = limit
        self._index = index
        self._desk = desk

    def known(self, entry: Entry) -> str | None:
        """SHA-256 of the object's content, if any run has seen this version of it."""
        return self._index.get(entry)

    def find(self, entry: Entry) -> File | None:
        """The object's file, if it has arrived in any run and is still whole."""
        sha256 = self.known(entry)
        return self.get(sha256, entry.size) if sha256 else None

    def get(self, sha256: str, size: int | None = None) -> File | None:
        """The file with this content, unless it is missing or was cut short."""
        path = self._folder / "objects" / sha256[:2] / sha256
        found = _size(path)
        return File(path, sha256, found) if found is not None and size in (None, found) else None

    def incoming(self, entry: Entry) -> Path:
        """Where this version of the object arrives, in this run and in the one that goes on after it."""
        version = json.dumps([entry.key, entry.size, entry.etag])
        return self._desk / hashlib.sha256(version.encode()).hexdigest()

    def keep(self, path: Path) -> File:
        """Move a whole file under its content's name."""
        sha256 = files.sha256(path)
        final = self._folder / "objects" / sha256[:2] / sha256
        final.parent.mkdir(parents=True, exist_ok=True)
        size = path.stat().st_size
        path.replace(final)
        return File(final, sha256, size)

    def keep_stream(self, stream: IO[bytes]) -> File:
        """Write a stream to its end and keep it; a failure leaves nothing."""
        path = self._desk / uuid.uuid4().hex
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, CHUNK_BYTES)
            return self.keep(path)
        finally:
            path.unlink(missing_ok=True)

    def note(self, entry: Entry, sha256: str) -> None:
        """Remember, durably and for all runs, what this version of the object holds."""
        self._index.add(entry, sha256)

    def arrived(self, entries: Iterable[Entry]) -> int:
        """Bytes of these objects that an interrupted run has left for this one."""
        names = {self.incoming(entry).name for entry in entries}
        return sum(
            path.stat().st_size
            for path in self._desk.iterdir()
            if path.name.partition(".")[0] in names
        )

    def require(self, sizes: Iterable[int], what: str, arrived: int = 0) -> None:
        """Refuse, before they arrive, files of these sizes that cannot fit; all in bytes, less those `arrived`.

        Raises:
            SettingsError: with the least `GRAFT_CACHE_LIMIT`, or the space to free.
        """
        need = sum(map(_on_disk, sizes)) - arrived
        if need <= 0:
            return
        received = f"{what} need {need:,} more bytes in {self._folder}"
        if self._limit is not None and (least := self._used() + need) > self._limit:
            cure = f"Set GRAFT_CACHE_LIMIT to at least {least}, on a volume larger than that, or empty the cache."
            raise SettingsError(
                f"{received}, and GRAFT_CACHE_LIMIT={self._limit} does not allow it.", cure
            )
        if need > (free := shutil.disk_usage(self._folder).free):
            cure = f"Give GRAFT_CACHE_DIR a volume with {need - free:,} bytes more, or empty it."
            raise SettingsError(f"{received}, and its disk has {free:,} left.", cure)

    def _used(self) -> int:
        """Bytes on the disk of all that is cached, by every room."""
        paths = (
            Path(folder) / name for folder, _, names in os.walk(self._folder) for name in names
        )
        return sum(_on_disk(_size(path) or 0) for path in paths)


def _size(path: Path) -> int | None:
    """The file's size in bytes; None where there is none, or none any more: other runs come and go."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _on_disk(size: int) -> int:
    """Bytes that a file takes on a disk, which counts in blocks."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


class _Index:
    """Which content each version of an object has, so that it need not be fetched to know.

    Each run appends to a file of its own: runs at once cannot harm each other, and a line cut short
    by a crash is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int, str], str] = {}
        for path in folder.glob("*.jsonl"):
            self._known.update(_read_lines(path))

    def get(self, entry: Entry) -> str | None:
        return self._known.get((entry.key, entry.size, entry.etag))

    def add(self, entry: Entry, sha256: str) -> None:
        line = json.dumps([entry.key, entry.size, entry.etag, sha256]) + "\n"
        with self._lock:
            if self._own is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._own = (self._folder / f"{uuid.uuid4().hex}.jsonl").open("xb", buffering=0)
            self._own.write(line.encode())
            self._known[entry.key, entry.size, entry.etag] = sha256

    def close(self) -> None:
        if self._own:
            self._own.close()


def _read_lines(path: Path) -> Iterator[tuple[tuple[str, int, str], str]]:
    for line in path.read_text().splitlines():
        try:
            key, size, etag, sha256 = json.loads(line)
        except ValueError:
            continue
        yield (key, size, etag), sha256


@contextmanager
def _desk(folder: Path) -> Iterator[Path]:
    """The first folder for half-arrived files that no other run holds: a replaced pod finds what was left to it."""
    for number in itertools.count():
        desk = folder / str(number)
        desk.mkdir(parents=True, exist_ok=True)
        with desk.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield desk
            return


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in files.NO_SPACE:
            received = f"The disk of the cache {folder} is full: {error.strerror}."
            raise SettingsError(
                received, "Give GRAFT_CACHE_DIR a larger volume, or empty it."
            ) from error
        received = f"The cache {folder} cannot be used: {error}."
        raise SettingsError(
            received, "Set GRAFT_CACHE_DIR to a folder that the job may write to."
        ) from error
