"""What is in an archive file: the members of ZIP and TAR, however they are compressed and named.

The first bytes say what a file is. Its suffix may be wrong.
"""

import bz2
import gzip
import importlib
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from job.dataset.archive_kinds import (
    HEAD_BYTES,
    TAR_FAULTS,
    TAR_MAGIC,
    VOLUME_LABEL,
    refuse_other_kinds,
)
from job.errors import DatasetError

# tarfile reads extended headers whole. None is near this size unless it is meant to fill memory.
MAX_READ = 4 * 2**20
# What may follow the end mark of a TAR.
MAX_TAIL = 100 * 2**20
# The target of a link is a path.
MAX_TARGET = 4096

COMPRESSED = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

# Where Python has zstd: since 3.14 in the standard library, and before in its back-port.
ZSTD_MODULES = ("compression.zstd", "backports.zstd")

# Methods of ZIP that zipfile does not know, by number.
ZIP_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    20: "Zstandard",
    93: "Zstandard",
    95: "xz",
    96: "JPEG",
    98: "PPMd",
    99: "AES encryption",
}
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
IS_UTF8 = 0x800
IS_ENCRYPTED = 0x1
# The extra field in which Info-ZIP keeps the name in UTF-8.
UNICODE_PATH = 0x7075


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """What an archive says of one member.

    Attributes:
        size: in bytes, unpacked.
        is_file: whether it has a content.
        fault: why it may not be unpacked, if so.
        link: for a link, its target as written.
        is_hard: whether the target is relative to the archive, and not to the link's folder.
        raw_name: the bytes of its name, where nothing says what encoding they are.
        open: its content. May be called until the next member is read.
    """

    name: str
    size: int
    is_file: bool
    fault: str | None = None
    link: str | None = None
    is_hard: bool = False
    raw_name: bytes | None = None
    open: Callable[[], IO[bytes]]


def read_archive(path: Path, name: str, encoding: str) -> Iterator[ArchivedFile]:
    """Every member of an archive. Names that are not UTF-8 are in `encoding`.

    Raises:
        DatasetError: it is of a kind that cannot be read.
        tarfile.TarError, zipfile.BadZipFile and others: it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    refuse_other_kinds(head, name)

    for compression, magic in COMPRESSED.items():
        if head.startswith(magic):
            open_tar = _find_opener(compression, name)
            with path.open("rb") as file, open_tar(file) as tar:
                _refuse_packed_twice(tar.read(HEAD_BYTES), name, compression)
            return _read_tar(path, open_tar, encoding)
    if head.startswith(ZIP_MAGICS) or name.lower().endswith(".zip"):
        _refuse_volume(path, name)
        return _read_zip(path, encoding)
    return _read_tar(path, lambda raw: raw, encoding)


def _refuse_packed_twice(head: bytes, name: str, compression: str) -> None:
    """Refuse a compressed file that does not begin as a TAR does, but as something else.

    Web servers compress `.tar.gz` files again, and some programs save them like that.
    """
    if head.startswith((*COMPRESSED.values(), *ZIP_MAGICS)):
        raise DatasetError(
            f"{name} is an archive that was compressed once more, by {compression}.",
            "Decompress it once, and give what comes out.",
        )
    if head:
        refuse_other_kinds(head, f"What is compressed in {name}")


def find_zstd() -> Any:
    """The module with `ZstdFile` and `ZstdError`, or None."""
    for name in ZSTD_MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _find_opener(compression: str, name: str) -> Callable[[IO[bytes]], Any]:
    """A function that decompresses a file while it is read."""
    if compression == "zstd":
        zstd = find_zstd()
        if zstd is not None:
            return cast(Callable[[IO[bytes]], Any], zstd.ZstdFile)
        raise DatasetError(
            f"{name} is compressed by zstd, which this Python cannot read.",
            "Compress it by gzip or xz, or install the package backports.zstd.",
        )
    openers: dict[str, Callable[[IO[bytes]], Any]] = {
        "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
        "bzip2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
    }
    return openers[compression]


def _refuse_volume(path: Path, name: str) -> None:
    """Refuse one part of a ZIP archive that was split into several files."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**16 - 22))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    disk = tail[at + 4 : at + 6]
    if at >= 0 and disk not in (b"\0\0", b"\xff\xff"):
        raise DatasetError(
            f"{name} is one part of an archive in several files.",
            "Join them: `zip -s 0 data.zip --out whole.zip`.",
        )


def _read_zip(path: Path, encoding: str) -> Iterator[ArchivedFile]:
    """Every member of a ZIP archive."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name, raw_name = _read_zip_name(info, encoding)
            # The upper half is a Unix mode. It is 0 where another system made the archive.
            kind = stat.S_IFMT(info.external_attr >> 16)
            fault = link = None
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                fault = "is a device"
            elif info.flag_bits & IS_ENCRYPTED:
                fault = "is encrypted"
            elif info.compress_type not in READABLE_METHODS:
                method = ZIP_METHODS.get(info.compress_type, f"method {info.compress_type}")
                raise NotImplementedError(method)
            elif kind == stat.S_IFLNK:
                # The content of a link is its target.
                with archive.open(info) as file:
                    link = file.read(MAX_TARGET).decode(errors="surrogateescape")
            yield ArchivedFile(
                name=name,
                size=info.file_size,
                is_file=not name.endswith(("/", "\\")),
                fault=fault,
                link=link,
                raw_name=raw_name,
                open=partial(archive.open, info),
            )


def _read_zip_name(info: zipfile.ZipInfo, encoding: str) -> tuple[str, bytes | None]:
    """The name of a member, and its bytes if they are in an unknown encoding."""
    if info.flag_bits & IS_UTF8 or info.orig_filename.isascii():
        return info.filename, None
    # Without the flag, zipfile takes all bytes for code page 437, which loses none of them.
    raw = info.orig_filename.encode("cp437")
    noted = _find_unicode_path(info.extra)
    if noted is not None:
        return noted, None
    return _decode_name(raw, encoding)


def _find_unicode_path(extra: bytes) -> str | None:
    """The name in UTF-8 that Info-ZIP writes beside one in a code page."""
    at = 0
    while at + 4 <= len(extra):
        field, size = struct.unpack_from("<HH", extra, at)
        # One byte is the version, and four are the checksum of the other name.
        if field == UNICODE_PATH and size > 5:
            return extra[at + 9 : at + 4 + size].decode(errors="surrogateescape")
        at += 4 + size
    return None


def _decode_name(raw: bytes, encoding: str) -> tuple[str, bytes | None]:
    """The name, and its bytes if neither UTF-8 nor `encoding` (if any) can be right."""
    try:
        return raw.decode(encoding or "utf-8"), None
    except UnicodeDecodeError:
        return raw.decode(errors="surrogateescape"), raw


def _read_tar(
    path: Path, decompress: Callable[[IO[bytes]], Any], encoding: str
) -> Iterator[ArchivedFile]:
    """Every member of a TAR archive.

    Raises where tarfile would end silently: a negative size, no end mark.
    """
    with path.open("rb") as raw:
        file = decompress(raw)
        bounded = BoundedReader(file)
        with (
            file,
            tarfile.open(fileobj=cast(IO[bytes], bounded), encoding="utf-8", mode="r:") as archive,
        ):
            while (info := archive.next()) is not None:
                # What `tar -V` calls the whole archive.
                if info.type == VOLUME_LABEL:
                    continue
                if info.size < 0:
                    raise tarfile.ReadError(f"{info.name} has the size {info.size}")
                # tarfile keeps what it has read, and millions of members fill the memory.
                archive.members.clear()  # type: ignore[attr-defined]  # missing in the stubs

                is_link = info.issym() or info.islnk()
                is_plain = info.isreg() or info.isdir() or is_link
                # Only plain files are ever opened, and they always have a content.
                open_file = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
                name, raw_name = _read_tar_name(info.name, encoding)
                link, _ = _read_tar_name(info.linkname, encoding)
                yield ArchivedFile(
                    name=name,
                    size=info.size,
                    is_file=info.isreg(),
                    fault=None if is_plain else TAR_FAULTS.get(info.type, "is a device"),
                    link=link if is_link else None,
                    is_hard=info.islnk(),
                    raw_name=raw_name,
                    open=open_file,
                )

            bounded.seek(archive.offset)
            if bounded.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("its end mark is missing")

            # Read on to the very end, where gzip keeps its checksum.
            for _ in range(MAX_TAIL // MAX_READ):
                tail = bounded.read(MAX_READ)
                if not tail:
                    return
                # `cat a.tar b.tar`: without this, what is in the second one would be missing.
                start = (len(tail) - len(tail.lstrip(b"\0"))) // tarfile.BLOCKSIZE
                if tail[start * tarfile.BLOCKSIZE :][TAR_MAGIC[0]] == TAR_MAGIC[1]:
                    raise tarfile.ReadError("another archive is behind its end mark")
            raise tarfile.ReadError("it goes on after its end mark")


def _read_tar_name(name: str, encoding: str) -> tuple[str, bytes | None]:
    """The name of a member, and its bytes if they are in an unknown encoding."""
    raw = name.encode(errors="surrogateescape")
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        decoded, raw_name = _decode_name(raw, encoding)
    # Without a folder in it the name is no class: its bytes are kept, and shown escaped.
    folder, _, _ = raw.rpartition(b"/")
    try:
        folder.decode()
    except UnicodeDecodeError:
        return decoded, raw_name
    return decoded, None


class BoundedReader:
    """The methods of a file that tarfile needs, with a limit on what one call reads."""

    def __init__(self, file: Any) -> None:
        self._read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """Read as the file does, and refuse a header that would fill the memory."""
        if size > MAX_READ:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return cast(bytes, self._read(size))
