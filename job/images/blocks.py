"""Files that are made of blocks, each with its length, read in the graph.

A JPEG is made of segments, a PNG and a WebP of chunks. Damaged blocks never fail a file: they end
the search.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any

# Bytes from which any of the containers shows what a block is.
HEAD_BYTES = 10


class Block(NamedTuple):
    """One block of a container. All fields are scalar tensors.

    Attributes:
        is_wanted: bool.
        is_last: bool: what is wanted does not follow.
        start: int64: where its payload starts in the file.
        size: int64: the payload's bytes.
        following: int64: where the next block starts.
    """

    is_wanted: Tensor
    is_last: Tensor
    start: Tensor
    size: Tensor
    following: Tensor


def find_block(
    encoded: Tensor, start: int, read_block: Callable[[Tensor, Tensor, Tensor], Block]
) -> Tensor:
    """The payload of the first wanted block, or nothing: string []."""
    length = tf.strings.length(encoded)
    length = tf.cast(length, tf.int64)

    def step(at: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        head = tf.strings.substr(encoded, at, HEAD_BYTES)
        head = tf.io.decode_raw(head, tf.uint8)
        head = tf.cast(head, tf.int64)
        block = read_block(encoded, head, at)
        # A damaged block may have a negative size, which `substr` would refuse.
        size = tf.maximum(block.size, 0)
        size = tf.where(block.is_wanted, size, 0)
        payload = tf.strings.substr(encoded, block.start, size)
        # To go to the end of the file ends the loop.
        is_done = block.is_wanted | block.is_last
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


def read_jpeg_segment(
    encoded: Tensor, head: Tensor, at: Tensor, *, marker: int, prefix: bytes
) -> Block:
    """FF, marker, length (2 bytes, counting itself), payload.

    Wanted is a segment with this marker whose payload begins with `prefix`.
    """
    found = head[1]
    length = head[2] * 256 + head[3]
    is_wanted = tf.equal(found, marker) & has_bytes(encoded, at + 4, prefix)
    # The scan (DA) ends the headers, and D9 the file.
    is_last = tf.not_equal(head[0], 0xFF) | tf.equal(found, 0xDA) | tf.equal(found, 0xD9)
    # FF FF is padding: the next byte may be the marker.
    following = tf.where(tf.equal(found, 0xFF), at + 1, at + 2 + length)
    return Block(
        is_wanted=is_wanted,
        is_last=is_last,
        start=at + 4,
        size=length - 2,
        following=following,
    )


def read_png_chunk(
    encoded: Tensor, head: Tensor, at: Tensor, *, name: bytes, last: bytes = b"IDAT"
) -> Block:
    """Length (4 bytes), name, payload, checksum (4 bytes). The chunk `last` ends the search."""
    size = read_number(head, 0, 4, tf.constant(False))
    return Block(
        is_wanted=has_bytes(encoded, at + 4, name),
        is_last=has_bytes(encoded, at + 4, last),
        start=at + 8,
        size=size,
        following=at + 12 + size,
    )


def read_webp_chunk(encoded: Tensor, head: Tensor, at: Tensor, *, name: bytes) -> Block:
    """Name, length (4 bytes, little-endian), payload, a byte of padding after an odd length."""
    size = read_number(head, 4, 4, tf.constant(True))
    return Block(
        is_wanted=has_bytes(encoded, at, name),
        is_last=tf.constant(False),
        start=at + 8,
        size=size,
        following=at + 8 + size + size % 2,
    )


def has_bytes(text: Tensor, at: Any, magic: bytes) -> Tensor:
    """Whether these bytes are at this place of a text: bool []."""
    length = tf.strings.length(text)
    # A start beyond the end is an error, so it is moved to the end.
    start = tf.cast(at, tf.int32)
    start = tf.minimum(start, length)
    found = tf.strings.substr(text, start, len(magic))
    return tf.equal(found, magic)


def contains(text: Tensor, part: bytes) -> Tensor:
    """Whether these bytes are anywhere in a text: bool []."""
    # RE2 searches for a literal at the speed of `memchr`. TensorFlow has no search, but a
    # replacement of the first find.
    pattern = "".join(f"\\x{byte:02x}" for byte in part)
    without = tf.strings.regex_replace(text, pattern, "", replace_global=False)
    return tf.strings.length(without) < tf.strings.length(text)


def read_number(data: Tensor, at: Any, size: int, is_little: Tensor) -> Tensor:
    """int64 []: the unsigned number of `size` bytes at `at`. Bytes beyond the end count as zero."""
    part = data[at : at + size]
    num_missing = size - tf.size(part)
    part = tf.pad(part, [[0, num_missing]])
    part = tf.where(is_little, part, part[::-1])
    weights = tf.constant([256**power for power in range(size)], tf.int64)
    return tf.reduce_sum(part * weights)
