"""What a file that is called like an archive may be instead, by its first bytes."""

from job.errors import DatasetError
from job.file_kinds import LOOK_AGAIN, find_file_kind

# Enough to tell all kinds apart. A TAR says what it is behind its first name.
HEAD_BYTES = 512
TAR_MAGIC = slice(257, 262), b"ustar"
# Members of a TAR that hold no file: what `tar -V` calls the archive, and what `tar -M` divides.
VOLUME_LABEL = b"V"
TAR_FAULTS = {b"M": "goes on in another volume"}

REPACK = "Unpack it, and pack its files again: `zip -r data.zip <folder>` or `tar -cf`."
# Archives and ways of compression that are not read.
FOREIGN = {
    "a RAR archive": b"Rar!\x1a\x07",
    "a 7-Zip archive": b"7z\xbc\xaf\x27\x1c",
    "a Cabinet archive": b"MSCF",
    "a Debian package": b"!<arch>",
    "a CPIO archive": b"07070",
    "compressed by lz4": b"\x04\x22\x4d\x18",
    "compressed by lzip": b"LZIP",
    "compressed by lzma": b"\x5d\0\0",
    "compressed by compress": b"\x1f\x9d",
}
# What is found under the name of an archive, and is none, besides the kinds of `file_kinds`.
OTHERS = {
    "a JPEG image": b"\xff\xd8\xff",
    "a PNG image": b"\x89PNG",
    "JSON, such as the error of a server": b"{",
}


def refuse_other_kinds(head: bytes, name: str) -> None:
    """Refuse what is no ZIP and no TAR, however it is called.

    Args:
        head: the first HEAD_BYTES of the file.
        name: what messages call it.

    Raises:
        DatasetError: it is something else. What is not known passes.
    """
    place, magic = TAR_MAGIC
    if head[place] == magic:
        return
    if not head:
        raise DatasetError(f"{name} is damaged or cut short: it is empty (0 bytes).", LOOK_AGAIN)
    for description, magic in FOREIGN.items():
        if head.startswith(magic):
            raise DatasetError(f"{name} is {description}, which is not read.", REPACK)
    if kind := find_file_kind(head):
        raise DatasetError(f"{name} is not an archive, but {kind.name}.", kind.cure or LOOK_AGAIN)
    for description, magic in OTHERS.items():
        if head.startswith(magic):
            raise DatasetError(f"{name} is not an archive, but {description}.", LOOK_AGAIN)
