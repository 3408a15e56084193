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
from collections.abc import Callable, Collection, Iterable, Iterator
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


@dataclass(frozen=True, slots=True)
class MemberHeader:
    """What an archive says of one member. `fault` says why it may not be unpacked, if so."""

    name: str
    size: int
    is_file: bool
    fault: str | None


def list_members(path: Path, name: str) -> tuple[Member, ...]:
    """All files of the archive at `path`, without unpacking any. Messages call it `name`.

    Raises:
        DatasetError: the archive is corrupt, truncated or a bomb, or has members that are not plain
            files inside it.
    """
    with _report_damage(name):
        headers = _read_zip_headers(path) if _is_zip(name) else _read_tar_headers(path)
        return _require_plain_files(headers, name, path.stat().st_size)


def unpack(
    path: Path, name: str, wanted: Collection[str], take: Callable[[str, IO[bytes]], None]
) -> None:
    """Pass each wanted member to `take`, in the order of the archive.

    Raises:
        DatasetError: the archive is corrupt.
    """
    with _report_damage(name):
        members = _read_zip_members(path) if _is_zip(name) else _read_tar_members(path)
        for member, open_file in members:
            if member in wanted:
                with open_file() as stream:
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


def _require_plain_files(
    headers: Iterable[MemberHeader], name: str, packed_bytes: int
) -> tuple[Member, ...]:
    """The files among the members, or an error that lists every member that is refused."""
    members: dict[str, Member] = {}
    faults: list[str] = []
    total_bytes = 0
    for count, header in enumerate(headers, start=1):
        total_bytes += header.size
        _refuse_bomb(name, count, total_bytes, packed_bytes)

        member = _normalise_name(header.name)
        fault = header.fault or _find_name_fault(header.name)
        if fault is None and member in members:
            fault = "occurs twice"

        if fault:
            faults.append(f"{header.name} {fault}")
        elif header.is_file:
            members[member] = Member(member, header.size)
    if faults:
        raise DatasetError(
            f"{name} has members that are not plain files inside it:",
            "Pack only the image files, with relative names: `tar -C <folder> -cf <archive> .`",
            first_names(faults),
        )
    return tuple(members.values())


def _refuse_bomb(name: str, count: int, total_bytes: int, packed_bytes: int) -> None:
    if total_bytes > max(HARMLESS_BYTES, MAX_RATIO * packed_bytes):
        found = f"would unpack to more than {MAX_RATIO} times its own {packed_bytes:,} bytes"
    elif count > MAX_MEMBERS:
        found = f"has more than {MAX_MEMBERS:,} members"
    else:
        return
    raise DatasetError(
        f"{name} {found}: it looks like a bomb.",
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


def _read_zip_headers(path: Path) -> Iterator[MemberHeader]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            fault = None
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                fault = "is a link or a device"
            elif info.flag_bits & 1:
                fault = "is encrypted"
            is_file = not info.filename.endswith("/")
            yield MemberHeader(info.filename, info.file_size, is_file, fault)


def _read_zip_members(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield _normalise_name(info.filename), partial(archive.open, info)


def _read_tar_headers(path: Path) -> Iterator[MemberHeader]:
    with _open_tar(path) as archive:
        for info in _iterate_tar(archive):
            fault = None if info.isreg() or info.isdir() else "is a link or a device"
            yield MemberHeader(info.name, info.size, info.isreg(), fault)


def _read_tar_members(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with _open_tar(path) as archive:
        for info in _iterate_tar(archive):
            # Only plain files are ever opened, and they always have a content.
            open_file = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
            yield _normalise_name(info.name), open_file


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as raw:
        is_compressed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if is_compressed else raw)
        bounded = cast(IO[bytes], BoundedReader(file))
        with file, tarfile.open(fileobj=bounded, mode="r:") as archive:
            yield archive


def _iterate_tar(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Every member. Raises where tarfile would end silently: a negative size, no end mark."""
    while (info := archive.next()) is not None:
        if info.size < 0:
            raise tarfile.ReadError(f"{info.name} has the size {info.size}")
        # tarfile keeps what it has read, and millions of members fill the memory.
        archive.members.clear()  # type: ignore[attr-defined]  # missing in the stubs
        yield info

    file = cast(IO[bytes], archive.fileobj)
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end mark is missing")

    # Read on to the very end, where gzip keeps its checksum.
    for _ in range(HARMLESS_BYTES // MAX_READ):
        if not file.read(MAX_READ):
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
