"""Checksums of open files, by the names that S3 knows."""

import hashlib
import zlib
from typing import IO, Literal

Algorithm = Literal["md5", "sha1", "sha256", "crc32"]

PIECE_BYTES = 1 << 20


def digest(file: IO[bytes], algorithm: Algorithm) -> str:
    """The checksum of the whole file, in hexadecimal. MD5 is used against accidents, not against attackers."""
    file.seek(0)
    if algorithm == "crc32":
        return _crc32(file)
    state = hashlib.new(algorithm, usedforsecurity=False)
    while piece := file.read(PIECE_BYTES):
        state.update(piece)
    return state.hexdigest()


def _crc32(file: IO[bytes]) -> str:
    state = 0
    while piece := file.read(PIECE_BYTES):
        state = zlib.crc32(piece, state)
    return f"{state:08x}"
