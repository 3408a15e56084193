"""Archives (.tar, .tar.gz, .tgz, .zip): looked through before they are unpacked, then read member by member.

Nothing is ever extracted to a name from the archive. What could only be there by mistake or by
malice (links, devices, names that lead outside, a bomb) refuses the whole archive before a byte of
it is unpacked.
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
# Photographs hardly shrink and plain drawings shrink tenfold: a hundredfold is a bomb, unless it is
# small anyway.
MAX_RATIO = 100
HARMLESS_BYTES = 100 * 2**20
# tarfile reads extended headers whole; none is near this size unless it is meant to fill the
# memory.
MAX_READ = 4 * 2**20
# Found by damaging archives at random: what the standard library says of them.
CORRUPT = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    UnicodeError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: its name as normalised, its size unpacked in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What an archive says of one member; `fault` says in words why it may not be unpacked."""

    name: str
    size: int
    is_file: bool
    fault: str | None


def look(path: Path, name: str) -> tuple[Member, ...]:
    """All files of the archive at `path`, which people know as `name`, without unpacking any.

    Raises:
        DatasetError: the archive is corrupt, truncated or a bomb, or has members that are no plain
        files inside it.
    """
    with _reading(name):
        return _plain_files(
            _zip_headers(path) if _is_zip(name) else _tar_headers(path), name, path.stat().st_size
        )


def unpack(
    path: Path, name: str, wanted: Collection[str], take: Callable[[str, IO[bytes]], None]
) -> None:
    """Hand each wanted member to `take`, in the order of the archive.

    Raises:
        DatasetError: the archive is corrupt.
    """
    with _reading(name):
        for member, open_file in _zip_files(path) if _is_zip(name) else _tar_files(path):
            if member in wanted:
                with open_file() as stream:
                    take(member, stream)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (*CORRUPT, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk; that of gzip, bz2 and a wrong offset has no other number
        cure = "Make the archive again, and check that it was uploaded whole."
        raise DatasetError(
            f"{name} is damaged or cut short: {error or type(error).__name__}.", cure
        ) from error


def _plain_files(found: Iterable[_Found], name: str, packed_bytes: int) -> tuple[Member, ...]:
    members: dict[str, Member] = {}
    faults: list[str] = []
    total_bytes = 0
    for count, item in enumerate(found, start=1):
        total_bytes += item.size
        _refuse_bomb(name, count, total_bytes, packed_bytes)
        member = _normal(item.name)
        if (
            fault := item.fault
            or _name_fault(item.name)
            or ("occurs twice" if member in members else None)
        ):
            faults.append(f"{item.name} {fault}")
        elif item.is_file:
            members[member] = Member(member, item.size)
    if faults:
        cure = "Pack the image files alone, with relative names: `tar -C <folder> -cf <archive> .`"
        raise DatasetError(
            f"{name} has members that are no plain files inside it:", cure, first_names(faults)
        )
    return tuple(members.values())


def _refuse_bomb(name: str, count: int, total_bytes: int, packed_bytes: int) -> None:
    if total_bytes > max(HARMLESS_BYTES, MAX_RATIO * packed_bytes):
        received = (
            f"{name} would unpack to more than {MAX_RATIO} times its own {packed_bytes:,} bytes"
        )
        raise DatasetError(
            f"{received}: it looks like a bomb.",
            "Give the unpacked folder if it is really meant so.",
        )
    if count > MAX_MEMBERS:
        received = f"{name} has more than {MAX_MEMBERS:,} members"
        raise DatasetError(
            f"{received}: it looks like a bomb.",
            "Give the unpacked folder if it is really meant so.",
        )


def _normal(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _name_fault(name: str) -> str | None:
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name):
        return "has an absolute name"
    return "leads outside with '..'" if ".." in re.split(r"[/\\]", name) else None


def _zip_headers(path: Path) -> Iterator[_Found]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield _Found(
                info.filename, info.file_size, not info.filename.endswith("/"), _zip_fault(info)
            )


def _zip_fault(info: zipfile.ZipInfo) -> str | None:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return "is encrypted" if info.flag_bits & 1 else None


def _zip_files(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield _normal(info.filename), partial(archive.open, info)


def _tar_headers(path: Path) -> Iterator[_Found]:
    with _open_tar(path) as archive:
        for info in _tar_members(archive):
            fault = None if info.isreg() or info.isdir() else "is a link or a device"
            yield _Found(info.name, info.size, info.isreg(), fault)


def _tar_files(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with _open_tar(path) as archive:
        for info in _tar_members(archive):
            yield _normal(info.name), partial(_content, archive, info)


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    """The content of a plain file, which always has one."""
    return cast(IO[bytes], archive.extractfile(info))


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if zipped else raw)
        with file, tarfile.open(fileobj=cast(IO[bytes], _Bounded(file)), mode="r:") as archive:
            yield archive


def _tar_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Every member, and an error where tarfile would end in silence: a size below zero, a missing end mark."""
    while (info := archive.next()) is not None:
        if info.size < 0:
            raise tarfile.ReadError(f"{info.name} has the size {info.size}")
        archive.members.clear()  # type: ignore[attr-defined] # it keeps what it has read: millions fill the memory
        yield info
    file = cast(IO[bytes], archive.fileobj)
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end mark is missing")
    for _ in range(HARMLESS_BYTES // MAX_READ):  # to the very end, where gzip keeps its checksum
        if not file.read(MAX_READ):
            return
    raise tarfile.ReadError("it goes on after its end mark")


class _Bounded:
    """What tarfile needs of a file, without reading a header of many megabytes into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """As `file.read`, up to a size."""
        if size > MAX_READ:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return self._read(size)
