"""From archives to local files with known content, by way of the cache.

Several archives are one data set: each is a folder of its name without the suffix, so `train.zip`
and `test.zip` are a split. The same holds for archives inside an archive that has no images itself.
"""

import io
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from job import files
from job.dataset import archive, layout
from job.dataset.archive import Member
from job.dataset.arrival import Arrival, download_entry
from job.dataset.cache import DatasetCache, File
from job.dataset.layout import Layout
from job.dataset.listing import Listing
from job.dataset.local_files import find_local_folder, require_as_listed
from job.dataset.names import first_names, printable
from job.errors import DatasetError
from job.plurals import format_count
from job.settings import DatasetSettings
from job.storage import Entry, Store
from job.telemetry import Progressed, Telemetry

# Raised whenever the same archive may be read under other names than before.
TABLE_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedArchive:
    """One archive on the local disk. Its members' names follow `prefix` in the data set.

    `name` is what messages call it.
    """

    entry: Entry
    path: Path
    name: str
    prefix: str
    members: tuple[Member, ...]


def fetch_archives(
    listing: Listing,
    store: Store,
    dataset: DatasetSettings,
    cache: DatasetCache,
    telemetry: Telemetry,
) -> Arrival:
    """Unpack all archives of a listing, unless any run has done so before.

    Args:
        listing: of archives alone.
        store: at the root of the listing.
        dataset: says how names are read.
        cache: where archives and images are kept.
        telemetry: is told of each image.

    Raises:
        DatasetError: an archive is damaged, unsafe or cannot be read, or holds no classes.
    """
    contents = _find_unpacked(listing, dataset, cache)
    if contents:
        found = layout.read(contents, dataset.class_depth)
        if all(map(contents.__getitem__, found.places)):
            return _make_arrival(contents, found)

    with ExitStack() as stack:
        opened = []
        for each in _open_archives(listing, store, dataset, cache):
            opened += stack.enter_context(_open_inner_archives(each, dataset, cache))
        contents, found = _unpack_archives(opened, dataset, cache, telemetry)

    if folder := find_local_folder(store):
        # An archive is read in place: it must not have changed while it was unpacked.
        for entry in listing.entries:
            require_as_listed(folder / entry.key, entry)
    for entry in listing.entries:
        prefix = _find_prefix(listing, entry)
        own = {name: contents[name] for name in contents if name.startswith(prefix)}
        _remember_table(entry, own, dataset, cache)
    return _make_arrival(contents, found)


def _make_arrival(contents: dict[str, File | None], found: Layout) -> Arrival:
    layout.log_notes(found)
    return Arrival(contents, found.places, found.ignored, found.notes)


def _find_prefix(listing: Listing, entry: Entry) -> str:
    """The folder that stands for the archive where there are several."""
    if len(listing.entries) == 1:
        return ""
    return f"{archive.strip_suffix(entry.key)}/"


def _find_unpacked(
    listing: Listing, dataset: DatasetSettings, cache: DatasetCache
) -> dict[str, File | None]:
    """The files of all archives that any run has unpacked, by name, or nothing.

    None stands for a file that was ignored then, or lost since.
    """
    contents = {}
    for entry in listing.entries:
        known = cache.find_sha256(entry)
        table = cache.get(known) if known else None
        # Hashed again, because a damaged table would be taken for another archive.
        if table is None or files.sha256(table.path) != known:
            return {}
        fields = json.loads(table.path.read_bytes())
        # Earlier versions read names otherwise, and so does another encoding.
        if not isinstance(fields, dict) or fields["reading"] != _describe_reading(dataset):
            return {}
        for name, sha256, size in fields["rows"]:
            contents[name] = cache.get(sha256, size) if sha256 else None
    return contents


def _remember_table(
    entry: Entry,
    contents: dict[str, File | None],
    dataset: DatasetSettings,
    cache: DatasetCache,
) -> None:
    """Record what is in an archive: the content that the index has for it is this table."""
    rows: list[list[str | int | None]] = []
    for name, file in contents.items():
        # Also what is ignored has its row, so that a later run reads the same layout.
        if file:
            rows.append([name, file.sha256, file.size])
        else:
            rows.append([name, None, None])
    fields = {"reading": _describe_reading(dataset), "rows": rows}
    table = cache.keep_stream(io.BytesIO(json.dumps(fields).encode()))
    cache.remember(entry, table.sha256)


def _describe_reading(dataset: DatasetSettings) -> list[str | int]:
    return [TABLE_VERSION, dataset.archive_encoding]


def _open_archives(
    listing: Listing, store: Store, dataset: DatasetSettings, cache: DatasetCache
) -> Iterator[OpenedArchive]:
    """All archives of the listing on the local disk, with their members."""
    folder = find_local_folder(store)
    if not folder:
        names = ", ".join(printable(entry.key) for entry in listing.entries)
        # Twice their size, since photographs do not shrink when they are packed.
        sizes = [entry.size for entry in listing.entries]
        cache.require_space(
            [*sizes, *sizes],
            f"{names} and what is in it",
            cache.count_arrived_bytes(listing.entries),
        )
    for entry in listing.entries:
        name = printable(entry.key)
        path = _locate_archive(store, folder, entry, cache)
        members = archive.list_members(path, name, dataset.archive_encoding)
        yield OpenedArchive(
            entry=entry,
            path=path,
            name=name,
            prefix=_find_prefix(listing, entry),
            members=members,
        )


def _locate_archive(store: Store, folder: Path | None, entry: Entry, cache: DatasetCache) -> Path:
    if not folder:
        return download_entry(store, entry, cache)
    path = folder / entry.key
    require_as_listed(path, entry)
    return path


@contextmanager
def _open_inner_archives(
    outer: OpenedArchive, dataset: DatasetSettings, cache: DatasetCache
) -> Iterator[list[OpenedArchive]]:
    """The archives inside one that holds no images itself, else that archive.

    They are files of the cache until the block ends. An archive inside an inner one is ignored.
    """
    inner = {}
    for member in outer.members:
        is_archive = member.name.lower().endswith(archive.SUFFIXES)
        if is_archive and not layout.is_hidden(member.name):
            inner[member.name] = member
    if not inner or layout.has_images(member.name for member in outer.members):
        yield [outer]
        return

    cache.require_space([member.size for member in inner.values()], f"The archives in {outer.name}")
    sources = {member.source: name for name, member in inner.items()}
    paths: dict[str, Path] = {}

    def keep(member: str, stream: IO[bytes]) -> None:
        paths[sources[member]] = cache.write_incoming(stream)

    opened = []
    try:
        archive.unpack(outer.path, outer.name, sources, keep, dataset.archive_encoding)
        for inner_name, path in paths.items():
            name = f"{outer.name}/{printable(inner_name)}"
            opened.append(
                OpenedArchive(
                    entry=outer.entry,
                    path=path,
                    name=name,
                    prefix=f"{outer.prefix}{archive.strip_suffix(inner_name)}/",
                    members=archive.list_members(path, name, dataset.archive_encoding),
                )
            )
        yield opened
    finally:
        for path in paths.values():
            path.unlink()


def _unpack_archives(
    opened: Sequence[OpenedArchive],
    dataset: DatasetSettings,
    cache: DatasetCache,
    telemetry: Telemetry,
) -> tuple[dict[str, File | None], Layout]:
    """Keep the images of all archives. What is not an image of a class is None."""
    contents = _list_contents(opened)
    found = layout.read(contents, dataset.class_depth)

    sizes: list[int] = []
    wanted: list[set[str]] = []
    for each in opened:
        sources = {}
        for member in each.members:
            if each.prefix + member.name in found.places:
                sources[member.source] = member.size
        sizes += sources.values()
        wanted.append(set(sources))
    names = "; ".join(first_names([each.name for each in opened]))
    cache.require_space(sizes, f"{format_count(len(found.places), 'image')} in {names}")

    done = itertools.count(1)
    for each, sources_wanted in zip(opened, wanted, strict=True):
        kept: dict[str, File] = {}

        def keep(member: str, stream: IO[bytes], kept: dict[str, File] = kept) -> None:
            kept[member] = cache.keep_stream(stream)
            telemetry.emit(Progressed(next(done), len(sizes), "images"))

        archive.unpack(each.path, each.name, sources_wanted, keep, dataset.archive_encoding)
        for member in each.members:
            if each.prefix + member.name in found.places:
                contents[each.prefix + member.name] = kept[member.source]
    return contents, found


def _list_contents(opened: Sequence[OpenedArchive]) -> dict[str, File | None]:
    """The names of all members, with no file yet."""
    contents: dict[str, File | None] = {}
    for each in opened:
        for member in each.members:
            name = each.prefix + member.name
            if name in contents:
                raise DatasetError(
                    f"Two archives have a file that is called {printable(name)}.",
                    "Give the archives different names, without their suffixes.",
                )
            contents[name] = None
    return contents
