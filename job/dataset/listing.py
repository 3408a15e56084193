"""What is there, before any image is fetched: the objects of the data set and what each of them is."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import commonprefix

from job.dataset import archive, image_manifest, layout
from job.dataset.layout import Place
from job.dataset.names import first_names, printable
from job.errors import DatasetError, StoreForbidden, StoreNotFound
from job.settings import DatasetSettings
from job.storage import Entry, Store, connect, split_uri


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects that make up a data set.

    Attributes:
        uri: as written in the settings.
        entries: the images, and the manifest or the archive that they come from; keys are relative
            to `root`.
        digest: SHA-256 over (key, size, ETag) of the entries: equal digests mean equal data without
            a look inside.
        root: URI of the folder or prefix that the keys are relative to.
        places: class and split of each image, by key; empty for an archive, which has to be opened
            first.
        ignored: keys that are no images of any class, or that the manifest does not name.
        archive: whether the one entry is an archive.
    """

    uri: str
    entries: tuple[Entry, ...]
    digest: str
    root: str
    places: Mapping[str, Place]
    ignored: tuple[str, ...] = ()
    archive: bool = False


def survey(dataset: DatasetSettings) -> Listing:
    """List the data set without fetching an image; a manifest is read, an archive is not.

    A URI that ends like an archive or a manifest means that object if there is one, else the folder
    of that name. A folder that holds nothing but one archive means the archive.

    Raises:
        DatasetError: nothing is there, or it may not be read, or no file lies in a class folder, or
        rows of the
            manifest cannot be used.
        StoreUnavailable: the store is away; a retry may help.
    """
    with reading(dataset.uri):
        if found := _one_object(dataset.uri):
            return _of_object(dataset.uri, *found)
        store = connect(root := dataset.uri)
        entries = _all(store, dataset.uri)
        visible = [entry for entry in entries if not entry.key.startswith(".")]
        if len(visible) == 1 and _ends(visible[0].key, archive.SUFFIXES):
            return _of_object(dataset.uri, root, store, visible[0])
        return _of_folder(dataset.uri, entries)


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """To the store a missing object is a wrong setting; to whoever reads data it is missing data."""
    try:
        yield
    except (StoreNotFound, StoreForbidden) as error:
        raise DatasetError(
            f"Cannot read the data set {printable(uri)}: {error.message}", error.cure
        ) from error


def _ends(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def _one_object(uri: str) -> tuple[str, Store, Entry] | None:
    if not _ends(uri, archive.SUFFIXES + image_manifest.SUFFIXES):
        return None
    folder, name = split_uri(uri)
    store = connect(folder)
    entry = store.head(name)
    return (folder, store, entry) if entry else None


def _of_object(uri: str, root: str, store: Store, entry: Entry) -> Listing:
    if _ends(entry.key, image_manifest.SUFFIXES):
        return _of_manifest(uri, root, store, entry)
    return Listing(uri, (entry,), _digest((entry,)), root, {}, archive=True)


def _of_folder(uri: str, entries: tuple[Entry, ...]) -> Listing:
    if not entries:
        files = f"is one object; those that can be read end in {', '.join(archive.SUFFIXES + image_manifest.SUFFIXES)}"
        raise DatasetError(
            f"{printable(uri)} {files if _is_file(uri) else 'holds nothing'}.", layout.EXPECTED
        )
    found = layout.read([entry.key for entry in entries])
    images = tuple(entry for entry in entries if entry.key in found.places)
    return Listing(uri, images, _digest(images), uri, found.places, found.ignored)


def _all(store: Store, uri: str) -> tuple[Entry, ...]:
    """Every entry; none, in a folder as in a bucket, if the URI is a file."""
    try:
        return tuple(store.list())
    except StoreNotFound:
        if _is_file(uri):
            return ()
        raise


def _is_file(uri: str) -> bool:
    folder, name = split_uri(uri)
    return not uri.endswith("/") and connect(folder).head(name) is not None


def _of_manifest(uri: str, root: str, store: Store, entry: Entry) -> Listing:
    table = image_manifest.read(b"".join(store.stream(entry.key, etag=entry.etag)), printable(uri))
    listed = {found.key: found for found in store.list(_common_folder(table.places))}
    absent = [f"{image} is in no file" for image in table.places if image not in listed]
    if problems := (*table.problems, *absent):
        received = f"{printable(uri)} has {len(problems):,} rows that cannot be used:"
        raise DatasetError(received, image_manifest.CURE, first_names(problems))
    layout.require_classes(table.places, listed)
    entries = (entry, *(listed[image] for image in sorted(table.places)))
    ignored = tuple(key for key in listed if key not in table.places and key != entry.key)
    return Listing(uri, entries, _digest(entries), root, table.places, ignored)


def _common_folder(images: Mapping[str, Place]) -> str:
    """The deepest folder that all images lie in, so that a table in a large bucket does not list all of it."""
    shared = commonprefix(list(images))  # noqa: RUF071 - character by character is right: keys are no paths, `//` counts
    return shared.rpartition("/")[0].rstrip("/")


def _digest(entries: tuple[Entry, ...]) -> str:
    lines = sorted(json.dumps([entry.key, entry.size, entry.etag]) for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
