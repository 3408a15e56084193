"""Checksums of content, under the names that S3 uses."""

import hashlib
import zlib
from typing import IO, Literal

Algorithm = Literal["md5", "sha1", "sha256", "crc32"]

# Large enough that the system calls cost nothing, small enough for any memory.
PIECE_BYTES = 1 << 20


class Crc32:
    """CRC-32 with the methods of `hashlib`."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, piece: bytes) -> None:
        self._value = zlib.crc32(piece, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def new_digest(algorithm: Algorithm) -> "Crc32 | hashlib._Hash":
    """A checksum of nothing yet, whose `update` takes content."""
    if algorithm == "crc32":
        return Crc32()
    # MD5 is used against accidents, not against attackers.
    return hashlib.new(algorithm, usedforsecurity=False)


def compute_checksum(file: IO[bytes], algorithm: Algorithm) -> str:
    """The checksum of the whole file, in hexadecimal, wherever the file's position is."""
    file.seek(0)
    digest = new_digest(algorithm)
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()
