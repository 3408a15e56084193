"""Listing -> local files with known content. Nothing that has arrived once is fetched again.

A `file://` folder is read in place: its files are hashed once for each version and never copied, so
they must not be changed while a run lasts. What comes from a bucket or out of an archive lies in
the cache.
"""

import hashlib
import io
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote_to_bytes

from job.dataset import archive, layout
from job.dataset.cache import DatasetCache, File, digest, opened
from job.dataset.layout import Place
from job.dataset.listing import Listing, reading
from job.dataset.names import first_names, printable
from job.errors import DatasetError, StoreConflict, StoreNotFound, TemporaryError
from job.settings import CacheSettings, DatasetSettings, SplitName
from job.storage import Entry, Store, connect
from job.telemetry import Progressed, Telemetry

CONNECTIONS = 16  # Photographs are small: the waiting is for round trips, not for bytes.
AT_ONCE = (
    4096  # Tasks handed out together, so that a million images are not a million waiting tasks.
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """One image file. `name` is how its owner knows it; `split` and `group` are None where none is given.

    A given split may lack val or test: they are carved out of its train by whoever splits.
    """

    path: Path
    name: str
    label: str
    sha256: str
    size: int
    split: SplitName | None
    group: str | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """All image files on the local disk, not yet opened.

    Attributes:
        records: sorted by (label, sha256, name).
        digest: SHA-256 over the multiset of (label, sha256, split, group): the content, wherever it
            came from.
        listing: digest of the listing that it was fetched by.
        ignored: names of files that are no images of any class.
    """

    records: tuple[Record, ...]
    digest: str
    listing: str
    ignored: tuple[str, ...]


def fetch(
    listing: Listing, dataset: DatasetSettings, cache: CacheSettings, telemetry: Telemetry
) -> Dataset:
    """Bring every image of the listing to the local disk, verified.

    Raises:
        SettingsError: the cache is too small, with the size to ask for, or its disk is full or
        read-only. DatasetError: an image may not be read or is gone, or the archive is damaged or
        unsafe. TemporaryError: the data changed while it was read, or the store went away; a retry
        goes on from here.
    """
    store = connect(listing.root)
    with (
        reading(dataset.uri),
        _unchanged(dataset.uri),
        opened(cache.dir, cache.limit, store.uri) as checkpoints,
    ):
        files, places, ignored = (_from_archive if listing.archive else _from_folder)(
            listing, store, checkpoints, telemetry
        )
    if ignored:
        logger.warning(
            "%d files are no images of any class and were ignored: %s",
            len(ignored),
            "; ".join(first_names(ignored)),
        )
    records = sorted(
        _records(files, places), key=lambda record: (record.label, record.sha256, record.name)
    )
    return Dataset(tuple(records), _digest(records), listing.digest, tuple(map(printable, ignored)))


Arrival = tuple[Mapping[str, File | None], Mapping[str, Place], tuple[str, ...]]


def _from_folder(
    listing: Listing, store: Store, cache: DatasetCache, telemetry: Telemetry
) -> Arrival:
    images = [entry for entry in listing.entries if entry.key in listing.places]
    if folder := _local_folder(store):
        files = _each(lambda entry: _in_place(folder, entry, cache), images, telemetry)
        return dict(files), listing.places, listing.ignored
    present = {entry.key: file for entry in images if (file := cache.find(entry))}
    absent = [entry for entry in images if entry.key not in present]
    cache.require(
        (entry.size for entry in absent), f"{len(absent):,} images", cache.arrived(absent)
    )
    files = _each(lambda entry: _download(store, entry, cache), absent, telemetry)
    return present | dict(files), listing.places, listing.ignored


def _from_archive(
    listing: Listing, store: Store, cache: DatasetCache, telemetry: Telemetry
) -> Arrival:
    (entry,) = listing.entries
    contents = _unpacked_before(entry, cache)
    found = layout.read(contents, wrapped=True) if contents else None
    if found is None or not all(contents[name] for name in found.places):
        contents = _unpack(listing, store, cache, telemetry)
        found = layout.read(contents, wrapped=True)
    return contents, found.places, found.ignored


def _unpacked_before(entry: Entry, cache: DatasetCache) -> dict[str, File | None]:
    """The files of an archive that any run has unpacked, by name; None for those ignored then or lost since."""
    table = cache.get(known) if (known := cache.known(entry)) else None
    rows = json.loads(table.path.read_bytes()) if table and digest(table.path) == known else []
    return {name: cache.get(sha256, size) if sha256 else None for name, sha256, size in rows}


def _unpack(
    listing: Listing, store: Store, cache: DatasetCache, telemetry: Telemetry
) -> dict[str, File | None]:
    (entry,) = listing.entries
    name = printable(entry.key)
    path = _archive_path(store, entry, cache)
    members = archive.look(path, name)
    wanted = layout.read([member.name for member in members], wrapped=True).places
    cache.require(
        (member.size for member in members if member.name in wanted),
        f"The {len(wanted):,} images in {name}",
    )
    contents: dict[str, File | None] = {member.name: None for member in members}
    done = itertools.count(1)

    def keep(member: str, stream: IO[bytes]) -> None:
        contents[member] = cache.keep_stream(stream)
        telemetry.emit(Progressed(next(done), len(wanted), "images"))

    archive.unpack(path, name, wanted, keep)
    if _local_folder(store):
        _require_as_listed(path, entry)
    rows = [[member, file and file.sha256, file and file.size] for member, file in contents.items()]
    cache.note(entry, cache.keep_stream(io.BytesIO(json.dumps(rows).encode())).sha256)
    return contents


def _archive_path(store: Store, entry: Entry, cache: DatasetCache) -> Path:
    """The archive as a local file. Room is asked for it twice: photographs do not shrink when they are packed."""
    if folder := _local_folder(store):
        _require_as_listed(path := folder / entry.key, entry)
        return path
    path = cache.incoming(entry)
    cache.require(
        [entry.size, entry.size],
        f"{printable(entry.key)} and what is in it",
        cache.arrived([entry]),
    )
    if not path.exists():
        store.download(entry.key, path, entry)
    return path


def _download(store: Store, entry: Entry, cache: DatasetCache) -> File:
    path = cache.incoming(entry)
    if not path.exists():  # It is there if a run ended between the next two lines.
        store.download(entry.key, path, entry)
    file = cache.keep(path)
    cache.note(entry, file.sha256)
    return file


def _in_place(folder: Path, entry: Entry, cache: DatasetCache) -> File:
    path = folder / entry.key
    known = cache.known(entry)
    with _local_file(path):
        sha256 = known or digest(path)
    _require_as_listed(path, entry)
    if not known:
        cache.note(entry, sha256)
    return File(path, sha256, entry.size)


def _require_as_listed(path: Path, entry: Entry) -> None:
    """Refuse a local file that was written to since the listing, whose ETag is no longer true."""
    with _local_file(path):
        status = path.stat()
    if (status.st_size, status.st_mtime) != (entry.size, entry.modified):
        raise StoreConflict(f"{printable(str(path))} is no longer the file that was listed.")


@contextmanager
def _local_file(path: Path) -> Iterator[None]:
    """To whoever reads data in place, a file that is gone has changed, and one that cannot be read is bad data."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreConflict(f"{printable(str(path))} is gone.") from error
    except OSError as error:
        received = f"Cannot read {printable(str(path))}: {error.strerror}."
        raise DatasetError(received, "Mend the file, or take it away.") from error


def _local_folder(store: Store) -> Path | None:
    """The folder of a `file://` store, whose files need not be brought."""
    scheme, _, path = store.uri.partition("://")
    return Path(os.fsdecode(unquote_to_bytes(path))) if scheme == "file" else None


def _each(
    task: Callable[[Entry], File], entries: Sequence[Entry], telemetry: Telemetry
) -> Iterator[tuple[str, File]]:
    """Do the task for all entries, several at once; the first failure drops what has not begun."""
    done = itertools.count(1)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for start in range(0, len(entries), AT_ONCE):
            waiting = {
                pool.submit(task, entry): entry.key for entry in entries[start : start + AT_ONCE]
            }
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
                    telemetry.emit(Progressed(next(done), len(entries), "images"))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _unchanged(uri: str) -> Iterator[None]:
    try:
        yield
    except (StoreConflict, StoreNotFound) as error:
        received = f"The data set {printable(uri)} changed while it was read: {error.message}"
        raise TemporaryError(received, "Try again; what has arrived is kept.") from error


def _records(files: Mapping[str, File | None], places: Mapping[str, Place]) -> Iterator[Record]:
    for name, file in files.items():
        if file and (place := places.get(name)):
            yield Record(
                file.path,
                printable(name),
                place.label,
                file.sha256,
                file.size,
                place.split,
                place.group,
            )


def _digest(records: Iterable[Record]) -> str:
    lines = sorted(
        json.dumps([record.label, record.sha256, record.split, record.group]) for record in records
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
