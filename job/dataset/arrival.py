"""What has arrived on the local disk, and how one object does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from job.dataset.cache import DatasetCache, File, read_size
from job.dataset.layout import Place
from job.storage import Entry, Store, download


@dataclass(frozen=True, slots=True)
class Arrival:
    """Local files and what they are, by name. A file is None where its name is ignored.

    `notes` say what was read into the names of folders.
    """

    files: Mapping[str, File | None]
    places: Mapping[str, Place]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]


def download_entry(store: Store, entry: Entry, cache: DatasetCache) -> Path:
    """The object as a whole local file that is not yet kept."""
    path = cache.incoming_path(entry)
    # The file is there if a run ended between its download and `keep`. A power cut may have cut it
    # short, as it may any content of the cache, which looks at its size before each use.
    if read_size(path) != entry.size:
        download(store, entry.key, path, entry, durable=False)
    return path
