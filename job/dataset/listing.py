"""What there is before any image is fetched: the objects of the data set and their classes."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from job.addresses import Access
from job.dataset import archive, image_manifest, layout
from job.dataset.layout import Place
from job.dataset.names import first_names, printable
from job.errors import DatasetError, StoreForbidden, StoreNotFound
from job.plurals import format_count
from job.settings import DatasetSettings
from job.storage import Entry, Store, connect, split_uri

FILE_SUFFIXES = archive.SUFFIXES + image_manifest.SUFFIXES
# Lists of images and labels are also called so. In a folder it is another text.
LIST_SUFFIX = ".txt"
# What to do with a file that cannot be read, by its suffix.
FILE_CURES = {
    ".json": "Write one JSON object per line, and call the file .jsonl.",
    ".xlsx": "Save the table as CSV in UTF-8.",
    ".xls": "Save the table as CSV in UTF-8.",
    ".ods": "Save the table as CSV in UTF-8.",
    ".parquet": "Write the table as CSV or JSON Lines, and the images as files beside it.",
    ".rar": "Unpack it, and give the folder or a ZIP archive of it.",
    ".7z": "Unpack it, and give the folder or a ZIP archive of it.",
}
# Of the digest of one listed image: a million of them are 16 MB.
DIGEST_BYTES = 16
# An error about names that are no files shows so many files that are there.
SHOWN_FILES = 3

logger = logging.getLogger(__name__)


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
        archive: whether the entries are archives. Of several, each is a folder of its name.
        notes: what was guessed, one sentence each.
    """

    uri: str
    entries: tuple[Entry, ...]
    digest: str
    root: str
    places: Mapping[str, Place]
    ignored: tuple[str, ...] = ()
    archive: bool = False
    notes: tuple[str, ...] = ()

    def digest_images(self) -> tuple[bytes, ...]:
        """`DIGEST_BYTES` that stand for key, size, ETag and class of each image, sorted.

        Equal digests mean the same image under the same label. None of an archive.
        """
        digests = []
        for entry in self.entries:
            if place := self.places.get(entry.key):
                version = json.dumps([entry.key, entry.size, entry.etag, place.label])
                digest = hashlib.blake2b(version.encode(), digest_size=DIGEST_BYTES).digest()
                digests.append(digest)
        return tuple(sorted(digests))


def survey(dataset: DatasetSettings) -> Listing:
    """List the data set without fetching an image. A manifest is read, an archive is not.

    A URI that ends like an archive or a manifest means that object if there is one, else the folder
    of that name. A folder that holds nothing but archives means those.

    Raises:
        DatasetError: there is nothing, or it may not be read, or no file is in a class folder, or
            rows of the manifest cannot be used.
        StoreUnavailable: the store is away. A retry may help.
    """
    uri = dataset.uri
    with report_as_dataset_error(uri):
        if uri.lower().endswith((*FILE_SUFFIXES, LIST_SUFFIX)):
            folder, name = split_uri(uri)
            store = connect(folder, dataset.access)
            if entry := store.head(name):
                return _list_object(dataset, folder, store, entry)

        store = connect(uri, dataset.access)
        try:
            entries = tuple(store.list())
        except StoreNotFound:
            # At the URI of a file a bucket lists nothing, but a folder raises.
            if not _is_object(uri, dataset.access):
                raise
            entries = ()
        archives = _find_archives(entries)
        if archives:
            return _list_archives(uri, uri, archives)
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


def _list_object(dataset: DatasetSettings, root: str, store: Store, entry: Entry) -> Listing:
    """The listing of one object: an archive, or a manifest and what it names."""
    if entry.key.lower().endswith((*image_manifest.SUFFIXES, LIST_SUFFIX)):
        return _list_manifest(dataset, root, store, entry)
    return _list_archives(dataset.uri, root, (entry,))


def _list_archives(uri: str, root: str, entries: tuple[Entry, ...]) -> Listing:
    digest = _digest_entries(entries)
    return Listing(uri=uri, entries=entries, digest=digest, root=root, places={}, archive=True)


def _find_archives(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The archives of a folder that holds nothing else but texts, or nothing.

    A table beside archives may say what is in them, so it is not passed over.
    """
    archives = []
    for entry in entries:
        if layout.is_hidden(entry.key):
            continue
        if entry.key.lower().endswith(archive.SUFFIXES):
            archives.append(entry)
        elif layout.has_images([entry.key]) or entry.key.lower().endswith(image_manifest.SUFFIXES):
            return ()
    return tuple(archives)


def _list_folder(dataset: DatasetSettings, entries: tuple[Entry, ...]) -> Listing:
    uri = dataset.uri
    if not entries:
        if not _is_object(uri, dataset.access):
            raise DatasetError(f"{printable(uri)} holds nothing.", layout.EXPECTED)
        suffix = PurePosixPath(uri).suffix.lower()
        raise DatasetError(
            f"{printable(uri)} is one object; those that can be read end in "
            f"{', '.join(FILE_SUFFIXES)}.",
            FILE_CURES.get(suffix, layout.EXPECTED),
        )

    found = layout.read([entry.key for entry in entries], dataset.class_depth)
    layout.log_notes(found)
    images = [entry for entry in entries if entry.key in found.places]
    return Listing(
        uri=uri,
        entries=tuple(images),
        digest=_digest_entries(images),
        root=uri,
        places=found.places,
        ignored=found.ignored,
        notes=found.notes,
    )


def _is_object(uri: str, access: Access) -> bool:
    folder, name = split_uri(uri)
    return not uri.endswith("/") and connect(folder, access).head(name) is not None


def _list_manifest(dataset: DatasetSettings, root: str, store: Store, entry: Entry) -> Listing:
    content = b"".join(store.stream(entry.key, etag=entry.etag))
    name = printable(entry.key)
    table = image_manifest.read(content, name, dataset)
    # A link in the path gives the folder two addresses.
    roots = (root, store.uri)
    listed = _list_by_key(store, image_manifest.find_shared_folder(table, roots))
    found = image_manifest.match(table, listed, roots)
    if not found.found:
        # Names that begin at another folder than the table's may lead anywhere below it.
        listed = _list_by_key(store, "")
        found = image_manifest.match(table, listed, roots)

    notes = tuple(printable(f"{name}: {note}") for note in found.notes)
    for note in notes:
        logger.warning("%s", note)
    if found.problems:
        cure = image_manifest.CURE
        if table.missing_labels:
            cure = f"{cure} {image_manifest.MISSING_LABEL_CURE}"
        if found.found < len(table.rows):
            cure = f"{cure} {_show_files(listed, entry)}"
        rows = format_count(len(found.problems), "row")
        raise DatasetError(
            f"{printable(dataset.uri)} has {rows} that cannot be used:",
            cure,
            first_names(found.problems),
        )
    layout.require_classes(found.places, listed)

    # The manifest is an entry too, so that a change of its labels changes the digest.
    entries = [entry]
    for image in sorted(found.places):
        entries.append(listed[image])
    return Listing(
        uri=dataset.uri,
        entries=tuple(entries),
        digest=_digest_entries(entries),
        root=root,
        places=found.places,
        ignored=tuple(key for key in listed if key not in found.places and key != entry.key),
        notes=notes,
    )


def _show_files(listed: Mapping[str, Entry], table: Entry) -> str:
    """A sentence about the files that rows could name."""
    images = sorted(key for key in listed if key != table.key and layout.has_images([key]))
    if not images:
        return "There are no images below the folder of the table."
    return f"Files there are {', '.join(first_names(images, SHOWN_FILES))}."


def _list_by_key(store: Store, folder: str) -> dict[str, Entry]:
    return {entry.key: entry for entry in store.list(folder)}


def _digest_entries(entries: Sequence[Entry]) -> str:
    lines = []
    for entry in entries:
        version = [entry.key, entry.size, entry.etag]
        lines.append(json.dumps(version))
    # Sorted, because stores list in different orders.
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()
