"""EXIF orientation, read in the graph, since TensorFlow's decoders ignore it.

An EXIF block is a small TIFF file. JPEG keeps it in an APP1 segment, PNG in an `eXIf` chunk, WebP
in an `EXIF` chunk. Malformed EXIF never fails an image: it means "upright".
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from job.images.blocks import (
    contains,
    find_block,
    has_bytes,
    read_jpeg_segment,
    read_number,
    read_png_chunk,
    read_webp_chunk,
)
from job.images.branches import ENCODED, rare_branch
from job.images.formats import choose_by_format

Tensor = Any

# The orientation that needs no change.
UPRIGHT = 1

# The segment of a JPEG that holds EXIF, and what it begins with.
APP1 = 0xE1
EXIF_PREFIX = b"Exif\0\0"

# The TIFF tag of the orientation, and the type of its value.
ORIENTATION_TAG = 0x0112
SHORT = 3

# The size of one entry in a TIFF directory: tag, type, count, value.
ENTRY_BYTES = 12

# EXIF is at most one JPEG segment.
MOST_EXIF_BYTES = 1 << 16


def read_orientation(encoded: Tensor, formats: Sequence[str]) -> Tensor:
    """Read the EXIF orientation of an encoded image.

    Args:
        encoded: string [], the file's bytes.
        formats: those that it may have, in the order of FORMATS.

    Returns:
        int32 [], 1 to 8. It is 1 (upright) where there is none, or none that makes sense.
    """
    finders = {"JPEG": _find_in_jpeg, "PNG": _find_in_png, "WebP": _find_in_webp}
    branches: dict[str, Callable[[], Tensor]] = {}
    for name in formats:
        find = finders.get(name, _find_nothing)
        branches[name] = partial(find, encoded)
    exif = choose_by_format(encoded, branches)
    is_empty = tf.equal(exif, b"")
    return tf.cond(is_empty, lambda: tf.constant(UPRIGHT), lambda: _parse_exif(exif))


def _find_nothing(_: Tensor) -> Tensor:
    return tf.constant(b"")


def _find_in_jpeg(encoded: Tensor) -> Tensor:
    return find_block(encoded, 2, partial(read_jpeg_segment, marker=APP1, prefix=EXIF_PREFIX))


def _find_in_png(encoded: Tensor) -> Tensor:
    # It may be behind the pixels, which may be thousands of chunks. Few files make it worth to walk
    # through them.
    may_have_one = contains(encoded, b"eXIf")
    return tf.cond(may_have_one, lambda: _walk_png(encoded), lambda: tf.constant(b""))


@rare_branch(ENCODED)
def _walk_png(encoded: Tensor) -> Tensor:
    return find_block(encoded, 8, partial(read_png_chunk, name=b"eXIf", last=b"IEND"))


def _find_in_webp(encoded: Tensor) -> Tensor:
    return find_block(encoded, 12, partial(read_webp_chunk, name=b"EXIF"))


@rare_branch(ENCODED)
def _parse_exif(exif: Tensor) -> Tensor:
    """int32 []: the orientation in the first directory of an EXIF block.

    Slices clip instead of failing, so that any bytes can be read.
    """
    # JPEG has this prefix, and some writers use it in WebP too.
    prefixed = has_bytes(exif, 0, EXIF_PREFIX)
    tiff = tf.cond(prefixed, lambda: tf.strings.substr(exif, 6, MOST_EXIF_BYTES), lambda: exif)
    is_little = has_bytes(tiff, 0, b"II")
    data = tf.io.decode_raw(tiff, tf.uint8)
    data = tf.cast(data, tf.int64)
    directory = read_number(data, 4, 4, is_little)
    num_entries = read_number(data, directory, 2, is_little)
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
    is_tiff = is_little | has_bytes(tiff, 0, b"MM")
    value = tf.where(is_in_range & is_tiff, value, UPRIGHT)
    return tf.cast(value, tf.int32)
