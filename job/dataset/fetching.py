"""From a listing to local files with known content. What has arrived is never fetched again.

A `file://` folder is read in place: its files are hashed once per version and never copied, so they
must not be changed while a run lasts. What comes from a bucket or out of an archive is in the
cache.
"""

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from job.dataset.arrival import Arrival, download_entry
from job.dataset.cache import DatasetCache, File, open_cache
from job.dataset.listing import Listing, report_as_dataset_error
from job.dataset.local_files import find_local_folder, hash_in_place
from job.dataset.names import first_names, printable
from job.dataset.unpacking import fetch_archives
from job.errors import StoreConflict, StoreNotFound, TemporaryError
from job.plurals import format_count
from job.settings import CacheSettings, DatasetSettings, SplitName
from job.storage import Entry, Store, connect
from job.telemetry import Progressed, Telemetry

# Photographs are small: the time goes into round trips, not into bytes.
CONNECTIONS = 16
# Tasks submitted together, so that a million images are not a million waiting tasks.
BATCH = 4096

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image file.

    `location` is its path as text, `name` is how its owner knows it. `split` and `group` are None
    where none is given. A given split may lack val or test, which are then carved out of its train.
    """

    location: str
    name: str
    label: str
    sha256: str
    size: int
    split: SplitName | None
    group: str | None

    @property
    def path(self) -> Path:
        return Path(self.location)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All image files on the local disk, not yet opened.

    Attributes:
        records: sorted by (label, sha256, name).
        digest: SHA-256 over the multiset of (label, sha256, split, group): the content, whatever
            store it came from.
        listing: digest of the listing that it was fetched by.
        objects: `Listing.digest_images`, one after the other.
        ignored: names of files that are not images of a class.
        notes: what was read into the data set's names and tables, one sentence each.
    """

    records: tuple[Record, ...]
    digest: str
    listing: str
    objects: bytes = b""
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()


def fetch(
    listing: Listing, dataset: DatasetSettings, cache: CacheSettings, telemetry: Telemetry
) -> Dataset:
    """Fetch every image of the listing to the local disk, verified.

    Raises:
        SettingsError: the cache is too small, with the size to ask for, or its disk is full or
            read-only.
        DatasetError: an image may not be read or is gone, or the archive is damaged or unsafe.
        TemporaryError: the data changed while it was read, or the store went away. A retry
            continues from here.
    """
    arrival = _receive_files(listing, dataset, cache, telemetry)
    ignored = arrival.ignored
    if ignored:
        logger.warning(
            "%s ignored: %s",
            format_count(
                len(ignored),
                "file is not an image of a class and was",
                "files are not images of a class and were",
            ),
            "; ".join(first_names(ignored)),
        )
    records = _make_records(arrival)
    return Dataset(
        records=tuple(records),
        digest=_digest_records(records),
        listing=listing.digest,
        objects=b"".join(listing.digest_images()),
        ignored=tuple(map(printable, ignored)),
        notes=arrival.notes,
    )


def _receive_files(
    listing: Listing, dataset: DatasetSettings, cache: CacheSettings, telemetry: Telemetry
) -> Arrival:
    """The local files of a listing. What the cache knows of others is forgotten at the end."""
    uri = dataset.uri
    store = connect(listing.root, dataset.access)
    with report_as_dataset_error(uri):
        try:
            with open_cache(cache.dir, cache.limit, store.uri) as opened_cache:
                if listing.archive:
                    return fetch_archives(listing, store, dataset, opened_cache, telemetry)
                return _fetch_folder(listing, store, opened_cache, telemetry)
        except (StoreConflict, StoreNotFound) as error:
            # What was listed a moment ago is gone or different, so another listing may help.
            raise TemporaryError(
                f"The data set {printable(uri)} changed while it was read: {error.message}",
                "Try again. What has arrived is kept.",
            ) from error


def _fetch_folder(
    listing: Listing, store: Store, cache: DatasetCache, telemetry: Telemetry
) -> Arrival:
    # The listing of a manifest has an entry for the manifest itself, too.
    images = [entry for entry in listing.entries if entry.key in listing.places]
    if folder := find_local_folder(store):
        arrived = _run_all(lambda entry: hash_in_place(folder, entry, cache), images, telemetry)
        return Arrival(dict(arrived), listing.places, listing.ignored, listing.notes)

    present: dict[str, File | None] = {}
    absent = []
    sizes = []
    for entry in images:
        file = cache.find(entry)
        if file:
            present[entry.key] = file
        else:
            absent.append(entry)
            sizes.append(entry.size)
    num_arrived_bytes = cache.count_arrived_bytes(absent)
    cache.require_space(sizes, format_count(len(absent), "image"), num_arrived_bytes)

    def download_image(entry: Entry) -> File:
        path = download_entry(store, entry, cache)
        file = cache.keep(path)
        cache.remember(entry, file.sha256)
        return file

    arrived = _run_all(download_image, absent, telemetry)
    return Arrival(present | dict(arrived), listing.places, listing.ignored, listing.notes)


def _run_all(
    task: Callable[[Entry], File], entries: Sequence[Entry], telemetry: Telemetry
) -> Iterator[tuple[str, File]]:
    """Run the task for all entries, several at once. The first failure cancels the rest."""
    done = itertools.count(1)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for start in range(0, len(entries), BATCH):
            keys = {}
            for entry in entries[start : start + BATCH]:
                future = pool.submit(task, entry)
                keys[future] = entry.key
            try:
                for future in as_completed(keys):
                    yield keys[future], future.result()
                    telemetry.emit(Progressed(next(done), len(entries), "images"))
            except BaseException:
                # Also at Ctrl-C, and when the caller stops iterating: no download goes on unseen.
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _make_records(arrival: Arrival) -> list[Record]:
    """The records of all images, by (label, sha256, name)."""
    records = []
    for name, file in arrival.files.items():
        place = arrival.places.get(name)
        if file is None or place is None:
            continue
        record = Record(
            location=file.location,
            name=printable(name),
            label=place.label,
            sha256=file.sha256,
            size=file.size,
            split=place.split,
            group=place.group,
        )
        records.append(record)
    return sorted(records, key=lambda record: (record.label, record.sha256, record.name))


def _digest_records(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        row = [record.label, record.sha256, record.split, record.group]
        rows.append(json.dumps(row).encode())
    # Sorted by content, so that neither the files' names nor the store's order matters.
    rows.sort()
    digest = hashlib.sha256()
    for number, line in enumerate(rows):
        # Piece by piece: the whole text would be as large as the rows.
        digest.update(b"\n" + line if number else line)
    return digest.hexdigest()
