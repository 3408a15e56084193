"""From the bytes of a table to its text."""

import codecs

from job.errors import DatasetError
from job.file_kinds import find_file_kind

# UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD_BYTES = 512
CURE = "Save the table as UTF-8 (Excel: CSV UTF-8)."
SAVE_AS_TEXT = "Save the table as CSV in UTF-8 (Excel: CSV UTF-8), or as JSON Lines."
# What is found under the name of a table, besides the kinds of `file_kinds`, by how it begins.
FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or another ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip",
}


def decode_text(data: bytes, name: str) -> str:
    """The text of a table in UTF-8, or in the encoding that the mark at its beginning says.

    Raises:
        DatasetError: it is no table of text, or has another encoding, with the line where that
            shows.
    """
    if kind := find_file_kind(data[:HEAD_BYTES]):
        cure = kind.cure or SAVE_AS_TEXT
        raise DatasetError(f"{name} is {kind.name}; expected a table of text.", cure)
    for magic, description in FOREIGN.items():
        if data.startswith(magic):
            message = f"{name} is {description}; expected a table of text."
            raise DatasetError(message, SAVE_AS_TEXT)
    encoding = "utf-8"
    for mark, marked_encoding in MARKS:
        if data.startswith(mark):
            encoding = marked_encoding
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        expected = encoding.removesuffix("-sig").upper()
        raise DatasetError(f"{name}, line {line}: not {expected}.", CURE) from error
    # Without a mark, Latin text in UTF-16 is also valid UTF-8, with a zero beside each letter.
    if text[:2].count("\0") == 1 and text[:40].count("\0") * 2 >= len(text[:40]) - 1:
        raise DatasetError(f"{name}, line 1: not UTF-8, but UTF-16 without a mark.", CURE)
    return text
