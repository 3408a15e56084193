"""Archives (.tar, .tar.gz, .tgz, .zip): checked before they are unpacked, then read by member.

Nothing is ever extracted to a name from the archive. Members that can only be there by mistake or
by malice (links, devices, names that lead outside, a bomb) refuse the whole archive before a byte
of it is unpacked.
"""

import errno
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from job.dataset.names import first_names
from job.errors import DatasetError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
MAX_MEMBERS = 2_000_000

# Photographs hardly shrink, and plain drawings shrink tenfold. A hundredfold is a bomb, unless it
# is small anyway.
MAX_RATIO = 100
HARMLESS_BYTES = 100 * 2**20

# tarfile reads extended headers whole. None is near this size unless it is meant to fill memory.
MAX_READ = 4 * 2**20

# What the standard library raises for damaged archives, found by damaging them at random.
CORRUPT = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    UnicodeError,
)

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: its name as normalised, its size unpacked in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """What an archive says of one member. `fault` says why it may not be unpacked, if so.

    `open` may be called until the next member is read.
    """

    name: str
    size: int
    is_file: bool
    fault: str | None
    open: Callable[[], IO[bytes]]


def list_members(path: Path, name: str) -> tuple[Member, ...]:
    """All files of the archive at `path`, without unpacking any. Messages call it `name`.

    Raises:
        DatasetError: the archive is corrupt, truncated or a bomb, or has members that are not plain
            files inside it.
    """
    members: dict[str, Member] = {}
    faults = []
    total_bytes = 0
    with _report_damage(name):
        packed_bytes = path.stat().st_size
        most_bytes = max(HARMLESS_BYTES, MAX_RATIO * packed_bytes)
        archived = _read_zip(path) if _is_zip(name) else _read_tar(path)
        for count, found in enumerate(archived, start=1):
            # Checked at each member, because to list all members of a bomb may itself do the harm.
            total_bytes += found.size
            if total_bytes > most_bytes:
                raise _make_bomb_error(
                    f"{name} would unpack to more than {MAX_RATIO} times its own "
                    f"{packed_bytes:,} bytes"
                )
            if count > MAX_MEMBERS:
                raise _make_bomb_error(f"{name} has more than {MAX_MEMBERS:,} members")

            member = _normalise_name(found.name)
            fault = found.fault
            if fault is None:
                fault = _find_name_fault(found.name)
            # Of two members with one name, some tools keep the first and others the last.
            if fault is None and member in members:
                fault = "occurs twice"

            if fault:
                faults.append(f"{found.name} {fault}")
            elif found.is_file:
                members[member] = Member(member, found.size)

    if faults:
        raise DatasetError(
            f"{name} has members that are not plain files inside it:",
            "Pack only the image files, with relative names: `tar -C <folder> -cf <archive> .`",
            first_names(faults),
        )
    return tuple(members.values())


def unpack(
    path: Path, name: str, wanted: Collection[str], take: Callable[[str, IO[bytes]], None]
) -> None:
    """Pass each wanted member to `take`, in the order of the archive.

    Raises:
        DatasetError: the archive is corrupt.
    """
    with _report_damage(name):
        archived = _read_zip(path) if _is_zip(name) else _read_tar(path)
        for found in archived:
            member = _normalise_name(found.name)
            if member in wanted:
                with found.open() as stream:
                    take(member, stream)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


@contextmanager
def _report_damage(name: str) -> Iterator[None]:
    """Raise a DatasetError for what the standard library raises in the block."""
    try:
        yield
    except (*CORRUPT, OSError) as error:
        # gzip, bz2 and a wrong offset raise an OSError without a number or with EINVAL. Any other
        # number is a fault of the disk.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DatasetError(
            f"{name} is damaged or cut short: {error or type(error).__name__}.",
            "Make the archive again, and check that it was uploaded whole.",
        ) from error


def _make_bomb_error(found: str) -> DatasetError:
    return DatasetError(
        f"{found}: it looks like a bomb.",
        "Give the unpacked folder if it is meant to be so large.",
    )


def _normalise_name(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _find_name_fault(name: str) -> str | None:
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name):
        return "has an absolute name"
    if ".." in re.split(r"[/\\]", name):
        return "leads outside with '..'"
    return None


def _read_zip(path: Path) -> Iterator[ArchivedFile]:
    """Every member of a ZIP archive."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            # The upper half is a Unix mode. It is 0 where another system made the archive.
            kind = stat.S_IFMT(info.external_attr >> 16)
            fault = None
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                fault = "is a link or a device"
            elif info.flag_bits & 1:
                fault = "is encrypted"
            yield ArchivedFile(
                name=info.filename,
                size=info.file_size,
                is_file=not info.filename.endswith("/"),
                fault=fault,
                open=partial(archive.open, info),
            )


def _read_tar(path: Path) -> Iterator[ArchivedFile]:
    """Every member of a TAR archive, plain or compressed by gzip.

    Raises where tarfile would end silently: a negative size, no end mark.
    """
    with path.open("rb") as raw:
        # The suffix may be wrong, so the first bytes decide.
        is_compressed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if is_compressed else raw
        bounded = BoundedReader(cast(IO[bytes], file))
        with file, tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as archive:
            while (info := archive.next()) is not None:
                if info.size < 0:
                    raise tarfile.ReadError(f"{info.name} has the size {info.size}")
                # tarfile keeps what it has read, and millions of members fill the memory.
                archive.members.clear()  # type: ignore[attr-defined]  # missing in the stubs

                is_plain = info.isreg() or info.isdir()
                # Only plain files are ever opened, and they always have a content.
                open_file = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
                yield ArchivedFile(
                    name=info.name,
                    size=info.size,
                    is_file=info.isreg(),
                    fault=None if is_plain else "is a link or a device",
                    open=open_file,
                )

            bounded.seek(archive.offset)
            if bounded.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("its end mark is missing")

            # Read on to the very end, where gzip keeps its checksum.
            for _ in range(HARMLESS_BYTES // MAX_READ):
                if not bounded.read(MAX_READ):
                    return
            raise tarfile.ReadError("it goes on after its end mark")


class BoundedReader:
    """The methods of a file that tarfile needs, with a limit on what one call reads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """Read as the file does, and refuse a header that would fill the memory."""
        if size > MAX_READ:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return self._read(size)
