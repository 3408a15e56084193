"""What there is before any image is fetched: the objects of the data set and their classes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import commonprefix

from job.addresses import Access
from job.dataset import archive, image_manifest, layout
from job.dataset.layout import Place
from job.dataset.names import first_names, printable
from job.errors import DatasetError, StoreForbidden, StoreNotFound
from job.settings import DatasetSettings
from job.storage import Entry, Store, connect, split_uri

FILE_SUFFIXES = archive.SUFFIXES + image_manifest.SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The objects that make up a data set.

    Attributes:
        uri: as written in the settings.
        entries: the images, and the manifest or the archive that they come from. Keys are relative
            to `root`.
        digest: SHA-256 over (key, size, ETag) of the entries. Equal digests mean equal data,
            without opening a file.
        root: URI of the folder or prefix that the keys are relative to.
        places: class and split of each image, by key. Empty for an archive, which has to be opened
            first.
        ignored: keys that are not images of a class, or that the manifest does not name.
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
    """List the data set without fetching an image. A manifest is read, an archive is not.

    A URI that ends like an archive or a manifest means that object if there is one, else the folder
    of that name. A folder that holds nothing but one archive means the archive.

    Raises:
        DatasetError: there is nothing, or it may not be read, or no file is in a class folder, or
            rows of the manifest cannot be used.
        StoreUnavailable: the store is away. A retry may help.
    """
    uri = dataset.uri
    with report_as_dataset_error(uri):
        if uri.lower().endswith(FILE_SUFFIXES):
            folder, name = split_uri(uri)
            store = connect(folder, dataset.access)
            if entry := store.head(name):
                return _list_object(uri, folder, store, entry)

        store = connect(uri, dataset.access)
        try:
            entries = tuple(store.list())
        except StoreNotFound:
            # At the URI of a file a bucket lists nothing, but a folder raises.
            if not _is_object(uri, dataset.access):
                raise
            entries = ()
        visible = [entry for entry in entries if not entry.key.startswith(".")]
        if len(visible) == 1 and visible[0].key.lower().endswith(archive.SUFFIXES):
            return _list_object(uri, uri, store, visible[0])
        return _list_folder(dataset, entries)


@contextmanager
def report_as_dataset_error(uri: str) -> Iterator[None]:
    """Raise a DatasetError for a missing object, which to the store is a wrong setting."""
    try:
        yield
    except (StoreNotFound, StoreForbidden) as error:
        raise DatasetError(
            f"Cannot read the data set {printable(uri)}: {error.message}", error.cure
        ) from error


def _list_object(uri: str, root: str, store: Store, entry: Entry) -> Listing:
    """The listing of one object: an archive, or a manifest and what it names."""
    if entry.key.lower().endswith(image_manifest.SUFFIXES):
        return _list_manifest(uri, root, store, entry)
    entries = (entry,)
    digest = _digest_entries(entries)
    return Listing(uri=uri, entries=entries, digest=digest, root=root, places={}, archive=True)


def _list_folder(dataset: DatasetSettings, entries: tuple[Entry, ...]) -> Listing:
    uri = dataset.uri
    if not entries:
        if _is_object(uri, dataset.access):
            problem = f"is one object; those that can be read end in {', '.join(FILE_SUFFIXES)}"
        else:
            problem = "holds nothing"
        raise DatasetError(f"{printable(uri)} {problem}.", layout.EXPECTED)

    found = layout.read([entry.key for entry in entries])
    images = [entry for entry in entries if entry.key in found.places]
    return Listing(
        uri=uri,
        entries=tuple(images),
        digest=_digest_entries(images),
        root=uri,
        places=found.places,
        ignored=found.ignored,
    )


def _is_object(uri: str, access: Access) -> bool:
    folder, name = split_uri(uri)
    return not uri.endswith("/") and connect(folder, access).head(name) is not None


def _list_manifest(uri: str, root: str, store: Store, entry: Entry) -> Listing:
    content = b"".join(store.stream(entry.key, etag=entry.etag))
    table = image_manifest.read(content, printable(uri))

    # The deepest folder with all images: a table in a large bucket need not list all of it.
    # Character by character is right here: keys are not paths, and `//` counts.
    shared = commonprefix(list(table.places))  # noqa: RUF071  (for paths it would be wrong)
    folder, _, _ = shared.rpartition("/")
    listed = {}
    ignored = []
    for found in store.list(folder.rstrip("/")):
        listed[found.key] = found
        if found.key not in table.places and found.key != entry.key:
            ignored.append(found.key)

    problems = list(table.problems)
    for image in table.places:
        if image not in listed:
            problems.append(f"{image} is not a file there")
    if problems:
        raise DatasetError(
            f"{printable(uri)} has {len(problems):,} rows that cannot be used:",
            image_manifest.CURE,
            first_names(problems),
        )
    layout.require_classes(table.places, listed)

    # The manifest is an entry too, so that a change of its labels changes the digest.
    entries = [entry]
    for image in sorted(table.places):
        entries.append(listed[image])
    return Listing(
        uri=uri,
        entries=tuple(entries),
        digest=_digest_entries(entries),
        root=root,
        places=table.places,
        ignored=tuple(ignored),
    )


def _digest_entries(entries: Sequence[Entry]) -> str:
    lines = []
    for entry in entries:
        version = [entry.key, entry.size, entry.etag]
        lines.append(json.dumps(version))
    # Sorted, because stores list in different orders.
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()
