"""What a file is that is not what its name says, by its first bytes.

Images, archives and tables all meet such files: a download that needed a login is a web page, and
a `git clone` without LFS leaves pointers.
"""

from dataclasses import dataclass

LOOK_AGAIN = "Look at what was downloaded, or uploaded, under this name."


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that is no data.

    Attributes:
        name: an ending of "it is …".
        magic: how it begins. Of a text, in lower case.
        cure: what to do, where that does not depend on what was expected.
    """

    name: str
    magic: bytes
    cure: str = ""


LFS_POINTER = FileKind(
    "a Git LFS pointer", b"version https://git-lfs", cure="Fetch the file itself: `git lfs pull`."
)
# Tools write these in any case, and after a byte order mark, blanks or empty lines.
TEXTS = (
    LFS_POINTER,
    FileKind("a web page", b"<!doctype html", cure=LOOK_AGAIN),
    FileKind("a web page", b"<html", cure=LOOK_AGAIN),
    FileKind("XML, such as the error of a store", b"<?xml", cure=LOOK_AGAIN),
)
BINARIES = (
    FileKind("a PDF document", b"%PDF-"),
    FileKind("an HDF5 file", b"\x89HDF"),
    FileKind("a Parquet file", b"PAR1"),
    FileKind("a NumPy array", b"\x93NUMPY"),
    FileKind("a SQLite database", b"SQLite format 3"),
)
TEXT_START = b"\xef\xbb\xbf \t\r\n"


def find_file_kind(head: bytes) -> FileKind | None:
    """The kind of a file that is neither an image, nor an archive, nor a table.

    Args:
        head: its first bytes, 512 or more if it has so many.
    """
    text = head.lstrip(TEXT_START).lower()
    for kind in TEXTS:
        if text.startswith(kind.magic):
            return kind
    for kind in BINARIES:
        if head.startswith(kind.magic):
            return kind
    return None
