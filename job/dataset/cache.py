"""The files of all runs, kept once by content below one folder, maybe a volume that pods share.

    objects/ab/abcd…          a file named by its SHA-256. It appears by rename, whole or not at all
    index/<root>/<run>.jsonl  one line per arrival: [key, size, etag, sha256]. One writer each, read
                              by all
    incoming/<n>/             incomplete downloads of the one run that holds `incoming/<n>.lock`

No name here comes from a key. A content is hashed when it enters, and its size is checked at each
use: an object that was lost or cut short since then is fetched again. No image is evicted.
"""

import fcntl
import hashlib
import itertools
import json
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from job.errors import SettingsError
from job.files import NO_SPACE, count_disk_bytes, round_to_blocks, sha256
from job.storage import Entry

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A local file with known content. Its size is in bytes.

    `location` is its path as text: a `Path` takes four times the memory, and each image has one.
    """

    location: str
    sha256: str
    size: int

    @property
    def path(self) -> Path:
        return Path(self.location)


@contextmanager
def open_cache(folder: Path, limit: int | None, root: str) -> Iterator["DatasetCache"]:
    """The cache below `folder`, held by this run while files of the store root `root` arrive.

    Incomplete downloads stay after a failure, so that the next run continues them. A success
    removes them.

    Raises:
        SettingsError: the folder cannot be written, or its disk is full. Nothing incomplete has a
            final name then.
    """
    folder = folder.expanduser()
    root_digest = hashlib.sha256(root.encode()).hexdigest()
    index_folder = folder / "index" / root_digest[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _hold_incoming_folder(folder / "incoming") as incoming:
            with closing(ContentIndex(index_folder)) as index:
                yield DatasetCache(folder, limit, index, incoming)
            for left_over in incoming.iterdir():
                left_over.unlink()
    except OSError as error:
        if error.errno in NO_SPACE:
            raise SettingsError(
                f"The disk of the cache {folder} is full: {error.strerror}.",
                "Give GRAFT_CACHE_DIR a larger volume, or empty it.",
            ) from error
        raise SettingsError(
            f"The cache {folder} cannot be used: {error}.",
            "Set GRAFT_CACHE_DIR to a folder that the job may write to.",
        ) from error


class DatasetCache:
    """The cache as one run uses it. Safe to share between threads."""

    def __init__(
        self, folder: Path, limit: int | None, index: "ContentIndex", incoming: Path
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._index = index
        self._incoming = incoming

    def find_sha256(self, entry: Entry) -> str | None:
        """SHA-256 of the object's content, if any run has seen this version of it."""
        return self._index.get(entry)

    def find(self, entry: Entry) -> File | None:
        """The object's file, if it has arrived in any run and is still whole."""
        content = self.find_sha256(entry)
        return self.get(content, entry.size) if content else None

    def get(self, content: str, size: int | None = None) -> File | None:
        """The file with this SHA-256, unless it is missing or has another size."""
        location = self._locate_content(content)
        found = read_size(location)
        if found is None or size not in (None, found):
            return None
        return File(location, content, found)

    def incoming_path(self, entry: Entry) -> Path:
        """Where this version of the object arrives, in this run and in one that continues it."""
        version = json.dumps([entry.key, entry.size, entry.etag])
        # A digest, because a key may be too long for a file name, or lead out of the folder.
        digest = hashlib.sha256(version.encode()).hexdigest()
        return self._incoming / digest

    def keep(self, path: Path) -> File:
        """Move a whole file to the name of its content."""
        content = sha256(path)
        size = path.stat().st_size
        final = self._locate_content(content)
        folder = Path(final).parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        # Another run may keep the same content at the same time: both files are equal.
        path.replace(final)
        return File(final, content, size)

    def keep_stream(self, stream: IO[bytes]) -> File:
        """Write a stream to its end and keep it. A failure leaves nothing behind."""
        path = self.write_incoming(stream)
        try:
            return self.keep(path)
        finally:
            path.unlink(missing_ok=True)

    def write_incoming(self, stream: IO[bytes]) -> Path:
        """Write a stream to its end. The caller keeps or deletes the file.

        A failure leaves nothing behind.
        """
        path = self._incoming / uuid.uuid4().hex
        try:
            # Not synced: a content that a power cut damages is found out and fetched again.
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, CHUNK_BYTES)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def remember(self, entry: Entry, content: str) -> None:
        """Record for all runs which content this version of the object has."""
        self._index.add(entry, content)

    def count_arrived_bytes(self, entries: Iterable[Entry]) -> int:
        """Bytes of these objects that an interrupted run has left for this one."""
        names = {self.incoming_path(entry).name for entry in entries}
        arrived = 0
        for path in self._incoming.iterdir():
            # A partial download has the name of its target and a suffix.
            target, _, _ = path.name.partition(".")
            if target in names:
                arrived += path.stat().st_size
        return arrived

    def require_space(self, sizes: Iterable[int], what: str, arrived: int = 0) -> None:
        """Refuse, before they arrive, files of these sizes that cannot fit.

        All numbers are bytes. `arrived` of them are on the disk already.

        Raises:
            SettingsError: with the least `GRAFT_CACHE_LIMIT`, or the space to free.
        """
        needed = sum(map(round_to_blocks, sizes)) - arrived
        if needed <= 0:
            return
        received = f"{what}: {needed:,} more bytes are needed in {self._folder}"

        if self._limit is not None:
            # Everything that is cached counts, whichever run or data set it came with.
            least = count_disk_bytes(self._folder) + needed
            if least > self._limit:
                raise SettingsError(
                    f"{received}, and GRAFT_CACHE_LIMIT={self._limit} does not allow it.",
                    f"Set GRAFT_CACHE_LIMIT to at least {least}, on a volume larger than that, "
                    "or empty the cache.",
                )

        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise SettingsError(
                f"{received}, and its disk has {free:,} left.",
                f"Give GRAFT_CACHE_DIR a volume with {needed - free:,} bytes more, or empty it.",
            )

    def _locate_content(self, content: str) -> str:
        return f"{self._folder}/objects/{content[:2]}/{content}"


def read_size(location: str | Path) -> int | None:
    """The file's size in bytes, or None: other runs add and delete files at any time."""
    try:
        return Path(location).stat().st_size
    except FileNotFoundError:
        return None


class ContentIndex:
    """Which content each version of an object has, so that it need not be fetched to know.

    Each run appends to a file of its own, so runs at the same time cannot harm each other. A line
    that a crash cut short is skipped.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        # Digests alone, by digests of (key, size, ETag): a third of the memory of the text.
        self._contents: dict[bytes, bytes] = {}
        for path in folder.glob("*.jsonl"):
            for line in path.read_text().splitlines():
                try:
                    *version, content = json.loads(line)
                    self._contents[_digest_version(version)] = bytes.fromhex(content)
                except ValueError:
                    # Another run is writing this line now, or a crash cut it short.
                    continue

    def get(self, entry: Entry) -> str | None:
        content = self._contents.get(_digest_version([entry.key, entry.size, entry.etag]))
        return content.hex() if content else None

    def add(self, entry: Entry, content: str) -> None:
        version: list[str | int] = [entry.key, entry.size, entry.etag]
        line = json.dumps([*version, content]) + "\n"
        with self._lock:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / f"{uuid.uuid4().hex}.jsonl"
                # Unbuffered: each line is in the file when the call returns.
                self._file = path.open("xb", buffering=0)
            self._file.write(line.encode())
            self._contents[_digest_version(version)] = bytes.fromhex(content)

    def close(self) -> None:
        if self._file:
            self._file.close()


def _digest_version(version: list[str | int]) -> bytes:
    """16 bytes that stand for [key, size, etag]."""
    return hashlib.blake2b(json.dumps(version).encode(), digest_size=16).digest()


@contextmanager
def _hold_incoming_folder(folder: Path) -> Iterator[Path]:
    """The first folder for incomplete downloads that no other run holds.

    So a replaced pod finds what its predecessor left.
    """
    for number in itertools.count():
        incoming = folder / str(number)
        incoming.mkdir(parents=True, exist_ok=True)
        with incoming.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield incoming
            return
