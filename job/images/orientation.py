"""EXIF orientation, read in the graph, since TensorFlow's decoders ignore it.

An EXIF block is a small TIFF file. JPEG keeps it in an APP1 segment, PNG in an `eXIf` chunk, WebP
in an `EXIF` chunk: three containers of blocks, each with its length. Malformed EXIF never fails an
image: it means "upright".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any

# The orientation that needs no change.
UPRIGHT = 1

# The TIFF tag of the orientation, and the type of its value.
ORIENTATION_TAG = 0x0112
SHORT = 3

# Bytes from which any of the containers shows what a block is.
HEAD_BYTES = 10

# The size of one entry in a TIFF directory: tag, type, count, value.
ENTRY_BYTES = 12

# EXIF is at most one JPEG segment.
MOST_EXIF_BYTES = 1 << 16


class Block(NamedTuple):
    """One block of a container. All fields are scalar tensors.

    Attributes:
        is_exif: bool.
        is_last: bool: no EXIF follows.
        start: int64: where its payload starts in the file.
        size: int64: the payload's bytes.
        following: int64: where the next block starts.
    """

    is_exif: Tensor
    is_last: Tensor
    start: Tensor
    size: Tensor
    following: Tensor


def read_orientation(encoded: Tensor) -> Tensor:
    """Read the EXIF orientation of an encoded image.

    Args:
        encoded: string [], the file's bytes.

    Returns:
        int32 [], 1 to 8. It is 1 (upright) where there is none, or none that makes sense.
    """
    is_jpeg = _has_bytes(encoded, 0, b"\xff\xd8\xff")
    is_png = _has_bytes(encoded, 0, b"\x89PNG\r\n\x1a\n")
    is_webp = _has_bytes(encoded, 8, b"WEBP")
    exif = tf.case(
        [
            (is_jpeg, lambda: _find_exif(encoded, 2, _read_jpeg_segment)),
            (is_png, lambda: _find_exif(encoded, 8, _read_png_chunk)),
            (is_webp, lambda: _find_exif(encoded, 12, _read_webp_chunk)),
        ],
        default=lambda: tf.constant(b""),
    )
    is_empty = tf.equal(exif, b"")
    return tf.cond(is_empty, lambda: UPRIGHT, lambda: _parse_exif(exif))


def _has_bytes(text: Tensor, at: Any, magic: bytes) -> Tensor:
    length = tf.strings.length(text)
    # A start beyond the end is an error, so it is moved to the end.
    start = tf.cast(at, tf.int32)
    start = tf.minimum(start, length)
    found = tf.strings.substr(text, start, len(magic))
    return tf.equal(found, magic)


def _find_exif(
    encoded: Tensor, start: int, read_block: Callable[[Tensor, Tensor, Tensor], Block]
) -> Tensor:
    """The payload of the first EXIF block, or nothing: string []."""
    length = tf.strings.length(encoded)
    length = tf.cast(length, tf.int64)

    def step(at: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        head = tf.strings.substr(encoded, at, HEAD_BYTES)
        head = tf.io.decode_raw(head, tf.uint8)
        head = tf.cast(head, tf.int64)
        block = read_block(encoded, head, at)
        # A damaged block may have a negative size, which `substr` would refuse.
        size = tf.maximum(block.size, 0)
        size = tf.where(block.is_exif, size, 0)
        payload = tf.strings.substr(encoded, block.start, size)
        # To go to the end of the file ends the loop.
        is_done = block.is_exif | block.is_last
        following = tf.where(is_done, length, block.following)
        return following, payload

    first = tf.constant(start, tf.int64)
    nothing = tf.constant(b"")
    _, payload = tf.while_loop(
        lambda at, _: at + HEAD_BYTES <= length,
        step,
        (first, nothing),
    )
    return payload


def _read_jpeg_segment(encoded: Tensor, head: Tensor, at: Tensor) -> Block:
    """FF, marker, length (2 bytes, counting itself), payload."""
    marker = head[1]
    length = head[2] * 256 + head[3]
    is_app1 = tf.equal(marker, 0xE1)
    is_exif = is_app1 & _has_bytes(encoded, at + 4, b"Exif\0\0")
    # The scan (DA) ends the headers, and D9 the file.
    is_last = tf.not_equal(head[0], 0xFF) | tf.equal(marker, 0xDA) | tf.equal(marker, 0xD9)
    # FF FF is padding: the next byte may be the marker.
    following = tf.where(tf.equal(marker, 0xFF), at + 1, at + 2 + length)
    return Block(
        is_exif=is_exif,
        is_last=is_last,
        start=at + 4,
        size=length - 2,
        following=following,
    )


def _read_png_chunk(encoded: Tensor, head: Tensor, at: Tensor) -> Block:
    """Length (4 bytes), name, payload, checksum (4 bytes)."""
    size = _read_number(head, 0, 4, tf.constant(False))
    return Block(
        is_exif=_has_bytes(encoded, at + 4, b"eXIf"),
        # EXIF after the pixels is ignored: they may be thousands of chunks.
        is_last=_has_bytes(encoded, at + 4, b"IDAT"),
        start=at + 8,
        size=size,
        following=at + 12 + size,
    )


def _read_webp_chunk(encoded: Tensor, head: Tensor, at: Tensor) -> Block:
    """Name, length (4 bytes, little-endian), payload, a byte of padding after an odd length."""
    size = _read_number(head, 4, 4, tf.constant(True))
    return Block(
        is_exif=_has_bytes(encoded, at, b"EXIF"),
        is_last=tf.constant(False),
        start=at + 8,
        size=size,
        following=at + 8 + size + size % 2,
    )


def _parse_exif(exif: Tensor) -> Tensor:
    """int32 []: the orientation in the first directory of an EXIF block.

    Slices clip instead of failing, so that any bytes can be read.
    """
    # JPEG has this prefix, and some writers use it in WebP too.
    prefixed = _has_bytes(exif, 0, b"Exif\0\0")
    tiff = tf.cond(prefixed, lambda: tf.strings.substr(exif, 6, MOST_EXIF_BYTES), lambda: exif)
    is_little = _has_bytes(tiff, 0, b"II")
    data = tf.io.decode_raw(tiff, tf.uint8)
    data = tf.cast(data, tf.int64)
    directory = _read_number(data, 4, 4, is_little)
    num_entries = _read_number(data, directory, 2, is_little)
    entries = data[directory + 2 : directory + 2 + ENTRY_BYTES * num_entries]
    # The last entry may be cut short.
    whole_bytes = tf.size(entries) // ENTRY_BYTES * ENTRY_BYTES
    entries = tf.reshape(entries[:whole_bytes], [-1, ENTRY_BYTES])

    def read_column(at: int) -> Tensor:
        """The 16-bit numbers at one place of each entry."""
        first = entries[:, at]
        second = entries[:, at + 1]
        return tf.where(is_little, second * 256 + first, first * 256 + second)

    values = read_column(8)
    is_orientation = tf.equal(read_column(0), ORIENTATION_TAG)
    is_short = tf.equal(read_column(2), SHORT)
    found = tf.boolean_mask(values, is_orientation & is_short)
    # Where there is none, the appended default comes first.
    value = tf.concat([found, [UPRIGHT]], axis=0)[0]
    is_in_range = (value >= 1) & (value <= 8)
    is_tiff = is_little | _has_bytes(tiff, 0, b"MM")
    value = tf.where(is_in_range & is_tiff, value, UPRIGHT)
    return tf.cast(value, tf.int32)


def _read_number(data: Tensor, at: Any, size: int, is_little: Tensor) -> Tensor:
    """int64 []: the unsigned number of `size` bytes at `at`. Bytes beyond the end count as zero."""
    part = data[at : at + size]
    num_missing = size - tf.size(part)
    part = tf.pad(part, [[0, num_missing]])
    part = tf.where(is_little, part, part[::-1])
    weights = tf.constant([256**power for power in range(size)], tf.int64)
    return tf.reduce_sum(part * weights)
