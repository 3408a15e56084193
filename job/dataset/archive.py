"""Archives: checked before they are unpacked, then read by member.

Nothing is ever extracted to a name from the archive. Members that can only be there by mistake or
by malice (devices, names and links that lead outside, a bomb) refuse the whole archive before a
byte of it is unpacked.
"""

import errno
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from job.dataset.archive_formats import ArchivedFile, find_zstd, read_archive
from job.dataset.archive_kinds import REPACK
from job.dataset.archive_links import find_target, resolve_links
from job.dataset.names import first_names
from job.errors import DatasetError
from job.plurals import format_count

SUFFIXES = (
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tbz2",
    ".tbz",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".tzst",
    ".zip",
)
MAX_MEMBERS = 2_000_000

PACK_PLAINLY = "Pack only the image files, with relative names: `tar -C <folder> -cf <archive> .`"
TWICE = "occurs twice"
FAULT_CURES = {
    "is encrypted": "Pack the files without a password.",
    TWICE: "Pack the folder again into a new archive, so that each name occurs once.",
}

# Photographs hardly shrink, and plain drawings shrink tenfold. A hundredfold is a bomb, unless it
# is small anyway.
MAX_RATIO = 100
HARMLESS_BYTES = 100 * 2**20

# What the standard library raises for damaged archives, found by damaging them at random.
CORRUPT = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    UnicodeError,
)

# Encodings that an error shows a name in: the usual ones of ZIP tools.
LIKELY_ENCODINGS = ("cp437", "cp850", "cp1252", "gbk", "shift_jis", "cp949", "cp1251", "cp866")
SHOWN_ENCODINGS = 5


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: its name as normalised, its size unpacked in bytes.

    `source` is the name of the member that has its content: another one's for a link.
    """

    name: str
    size: int
    source: str


def strip_suffix(name: str) -> str:
    """The name of an archive without its suffix, or the name if it is no archive's."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def list_members(path: Path, name: str, encoding: str = "") -> tuple[Member, ...]:
    """All files of the archive at `path`, without unpacking any.

    Args:
        path: the archive.
        name: what messages call it.
        encoding: of names that are not UTF-8. Empty refuses them.

    Raises:
        DatasetError: the archive is corrupt, truncated or a bomb, of a kind that cannot be read, or
            has members that are not files inside it, or names that cannot be read.
    """
    sizes: dict[str, int] = {}
    links: dict[str, str] = {}
    faults = []
    unreadable = []
    with _report_damage(name):
        for found in _read_within_limits(path, name, encoding):
            member = _normalise_name(found.name)
            if found.raw_name is not None:
                unreadable.append(found.raw_name)
            fault = _find_fault(found)
            # Of two members with one name, some tools keep the first and others the last.
            if fault is None and (member in sizes or member in links):
                fault = TWICE

            if fault:
                faults.append(f"{found.name} {fault}")
            elif found.link is not None:
                target = find_target(member, found.link, is_hard=found.is_hard)
                # `_find_fault` has refused links that lead outside.
                links[member] = target or ""
            elif found.is_file:
                sizes[member] = found.size

    sources, broken_links = resolve_links(sizes, links, MAX_MEMBERS)
    faults += broken_links
    if faults:
        raise DatasetError(
            f"{name} has members that are not plain files inside it:",
            _choose_cure(faults),
            first_names(faults),
        )
    if unreadable:
        raise _make_encoding_error(name, unreadable, encoding)
    return tuple(Member(each, sizes[source], source) for each, source in sources.items())


def unpack(
    path: Path,
    name: str,
    wanted: Collection[str],
    take: Callable[[str, IO[bytes]], None],
    encoding: str = "",
) -> None:
    """Pass each wanted member to `take`, in the order of the archive. Links are not followed.

    Raises:
        DatasetError: the archive is corrupt.
    """
    with _report_damage(name):
        for found in read_archive(path, name, encoding):
            member = _normalise_name(found.name)
            if member in wanted and found.is_file and found.link is None:
                with found.open() as stream:
                    take(member, stream)


def _read_within_limits(path: Path, name: str, encoding: str) -> Iterator[ArchivedFile]:
    """All members of an archive, unless it is a bomb."""
    packed_bytes = path.stat().st_size
    most_bytes = max(HARMLESS_BYTES, MAX_RATIO * packed_bytes)
    total_bytes = 0
    for count, found in enumerate(read_archive(path, name, encoding), start=1):
        # Checked at each member, because to list all members of a bomb may itself do the harm.
        total_bytes += found.size
        if total_bytes > most_bytes:
            raise _make_bomb_error(
                f"{name} would unpack to more than {MAX_RATIO} times its own {packed_bytes:,} bytes"
            )
        if count > MAX_MEMBERS:
            raise _make_bomb_error(f"{name} has more than {MAX_MEMBERS:,} members")
        yield found


@contextmanager
def _report_damage(name: str) -> Iterator[None]:
    """Raise a DatasetError for what the standard library raises in the block."""
    try:
        yield
    except NotImplementedError as error:
        raise DatasetError(
            f"{name} is compressed in a way that is not read: {error}.", REPACK
        ) from error
    except _list_damage_errors() as error:
        # gzip, bz2 and a wrong offset raise an OSError without a number or with EINVAL. Any other
        # number is a fault of the disk.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DatasetError(
            f"{name} is damaged or cut short: {error or type(error).__name__}.",
            "Make the archive again, and check that it was uploaded whole.",
        ) from error


def _list_damage_errors() -> tuple[type[Exception], ...]:
    zstd = find_zstd()
    return (*CORRUPT, OSError) if zstd is None else (*CORRUPT, OSError, zstd.ZstdError)


def _make_bomb_error(found: str) -> DatasetError:
    return DatasetError(
        f"{found}: it looks like a bomb.",
        "Give the unpacked folder if it is meant to be so large.",
    )


def _make_encoding_error(name: str, raw_names: list[bytes], encoding: str) -> DatasetError:
    """Show the first name in the usual encodings, so that its owner sees which one is right."""
    first = raw_names[0]
    choices = []
    for each in LIKELY_ENCODINGS:
        try:
            text = first.decode(each)
        except UnicodeDecodeError:
            continue
        if text.isprintable():
            choices.append(f"{each}: {text}")
    expected = f"in {encoding}, as GRAFT_DATASET_ARCHIVE_ENCODING says" if encoding else "in UTF-8"
    names = format_count(len(raw_names), "name")
    return DatasetError(
        f"{name} has {names} not {expected}. The first one could be:",
        "Set GRAFT_DATASET_ARCHIVE_ENCODING to the encoding in which the name is right, or pack "
        "the files again with names in UTF-8.",
        tuple(choices[:SHOWN_ENCODINGS]) or (repr(first),),
    )


def _choose_cure(faults: Sequence[str]) -> str:
    """What to do about members that are not read: another thing if all have one fault."""
    for ending, cure in FAULT_CURES.items():
        if all(fault.endswith(ending) for fault in faults):
            return cure
    return PACK_PLAINLY


def _normalise_name(name: str) -> str:
    # Some tools of Windows write its own separators.
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _find_fault(found: ArchivedFile) -> str | None:
    if found.fault:
        return found.fault
    if re.match(r"[/\\]|[A-Za-z]:", found.name):
        return "has an absolute name"
    if ".." in re.split(r"[/\\]", found.name):
        return "leads outside with '..'"
    if found.link is not None:
        member = _normalise_name(found.name)
        if find_target(member, found.link, is_hard=found.is_hard) is None:
            return f"is a link to {found.link}, outside the archive"
    return None
