"""EXIF orientation, read in the graph; TensorFlow's decoders do not look at it.

An EXIF block is a small TIFF file. JPEG keeps it in an APP1 segment, PNG in an `eXIf` chunk, WebP
in an `EXIF` chunk: three containers of blocks that each say how long they are. Malformed EXIF never
fails an image: it means "upright".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any

UPRIGHT = 1
_TAG, _SHORT = 0x0112, 3
_HEAD = 10  # bytes that tell what a block is, in any of the containers


class Block(NamedTuple):
    """One block of a container; all fields are scalar tensors."""

    wanted: Tensor  # bool: this is the EXIF block
    last: Tensor  # bool: no EXIF follows
    start: Tensor  # int64: where its payload starts in the file
    size: Tensor  # int64: the payload's bytes
    following: Tensor  # int64: where the next block starts


def orientation(encoded: Tensor) -> Tensor:
    """The EXIF orientation of an encoded image.

    Args:
        encoded: string [], the file's bytes.

    Returns:
        int32 [], 1 to 8; 1 (upright) where there is none, or none that makes sense.
    """
    exif = tf.case(
        [
            (_starts(encoded, 0, b"\xff\xd8\xff"), lambda: _find(encoded, 2, _jpeg_segment)),
            (_starts(encoded, 0, b"\x89PNG\r\n\x1a\n"), lambda: _find(encoded, 8, _png_chunk)),
            (_starts(encoded, 8, b"WEBP"), lambda: _find(encoded, 12, _webp_chunk)),
        ],
        default=lambda: tf.constant(b""),
    )
    return tf.cond(tf.equal(exif, b""), lambda: UPRIGHT, lambda: _exif_orientation(exif))


def _starts(text: Tensor, at: Any, magic: bytes) -> Tensor:
    length = tf.strings.length(text)
    return tf.equal(
        tf.strings.substr(text, tf.minimum(tf.cast(at, tf.int32), length), len(magic)), magic
    )


def _find(
    encoded: Tensor, start: int, read_block: Callable[[Tensor, Tensor, Tensor], Block]
) -> Tensor:
    """The payload of the first EXIF block, or nothing: string []."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)

    def step(at: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, at, _HEAD), tf.uint8), tf.int64)
        block = read_block(encoded, head, at)
        size = tf.where(block.wanted, tf.maximum(block.size, 0), 0)
        payload = tf.strings.substr(encoded, block.start, size)
        return tf.where(block.wanted | block.last, length, block.following), payload

    begin = (tf.constant(start, tf.int64), tf.constant(b""))
    return tf.while_loop(lambda at, _: at + _HEAD <= length, step, begin)[1]


def _jpeg_segment(encoded: Tensor, head: Tensor, at: Tensor) -> Block:
    """FF marker, length (2 bytes, counting itself), payload; the scan (DA) ends the headers; FF FF is padding."""
    marker, length = head[1], head[2] * 256 + head[3]
    is_exif = tf.equal(marker, 0xE1) & _starts(encoded, at + 4, b"Exif\0\0")
    is_last = tf.not_equal(head[0], 0xFF) | tf.equal(marker, 0xDA) | tf.equal(marker, 0xD9)
    following = tf.where(tf.equal(marker, 0xFF), at + 1, at + 2 + length)
    return Block(is_exif, is_last, at + 4, length - 2, following)


def _png_chunk(encoded: Tensor, head: Tensor, at: Tensor) -> Block:
    """Length (4 bytes), name, payload, checksum. EXIF behind the pixels is not sought: they may be thousands."""
    size = _number(head, 0, 4, tf.constant(False))
    return Block(
        _starts(encoded, at + 4, b"eXIf"),
        _starts(encoded, at + 4, b"IDAT"),
        at + 8,
        size,
        at + 12 + size,
    )


def _webp_chunk(encoded: Tensor, head: Tensor, at: Tensor) -> Block:
    """Name, length (4 bytes, little-endian), payload, a byte of padding after an odd length."""
    size = _number(head, 4, 4, tf.constant(True))
    return Block(
        _starts(encoded, at, b"EXIF"), tf.constant(False), at + 8, size, at + 8 + size + size % 2
    )


def _exif_orientation(exif: Tensor) -> Tensor:
    """int32 []: tag 0x0112 of the first directory. Slices clip instead of failing, so that any bytes can be read."""
    prefixed = _starts(exif, 0, b"Exif\0\0")  # JPEG's manner, which some writers carry over to WebP
    tiff = tf.cond(prefixed, lambda: tf.strings.substr(exif, 6, 1 << 16), lambda: exif)
    is_little = _starts(tiff, 0, b"II")
    data = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int64)
    directory = _number(data, 4, 4, is_little)
    num_entries = _number(data, directory, 2, is_little)
    entries = data[directory + 2 : directory + 2 + 12 * num_entries]
    entries = tf.reshape(
        entries[: tf.size(entries) // 12 * 12], [-1, 12]
    )  # tag, type, count, value

    def column(at: int) -> Tensor:
        first, second = entries[:, at], entries[:, at + 1]
        return tf.where(is_little, second * 256 + first, first * 256 + second)

    found = tf.boolean_mask(column(8), tf.equal(column(0), _TAG) & tf.equal(column(2), _SHORT))
    value = tf.concat([found, [UPRIGHT]], axis=0)[0]
    makes_sense = (value >= 1) & (value <= 8) & (is_little | _starts(tiff, 0, b"MM"))
    return tf.cast(tf.where(makes_sense, value, UPRIGHT), tf.int32)


def _number(data: Tensor, at: Any, size: int, is_little: Tensor) -> Tensor:
    """int64 []: the unsigned number of `size` bytes at `at`; bytes beyond the end count as zero."""
    part = data[at : at + size]
    part = tf.pad(part, [[0, size - tf.size(part)]])
    part = tf.where(is_little, part, part[::-1])
    return tf.reduce_sum(part * tf.constant([256**power for power in range(size)], tf.int64))
