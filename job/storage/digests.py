"""Checksums of open files, under the names that S3 uses."""

import hashlib
import zlib
from typing import IO, Literal

Algorithm = Literal["md5", "sha1", "sha256", "crc32"]

# Large enough that the system calls cost nothing, small enough for any memory.
PIECE_BYTES = 1 << 20


def compute_checksum(file: IO[bytes], algorithm: Algorithm) -> str:
    """The checksum of the whole file, in hexadecimal, wherever the file's position is."""
    file.seek(0)
    if algorithm == "crc32":
        checksum = 0
        while piece := file.read(PIECE_BYTES):
            checksum = zlib.crc32(piece, checksum)
        return f"{checksum:08x}"

    # MD5 is used against accidents, not against attackers.
    state = hashlib.new(algorithm, usedforsecurity=False)
    while piece := file.read(PIECE_BYTES):
        state.update(piece)
    return state.hexdigest()
