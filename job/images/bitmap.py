"""BMP files, decoded in the graph.

TensorFlow decodes some kinds of BMP to noise, returns palette indices as if they were grey, never
looks at masks, knows no pixels of less than a byte, and refuses any bytes behind the pixels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any

# Where the information header begins. Its first field is its own size.
HEADER = 14
# OS/2 has an older header of this size, and three bytes per colour of the palette.
OLD_HEADER = 12
MASKS = 54
# The size of three masks behind a header that has no room for them.
MASKS_BYTES = 12
# Headers of this size or more have a fourth mask, for alpha.
ALPHA_HEADER = 56

# Values of the compression: none, or masks that say where the colours are.
PLAIN = 0
MASKED = 3

# Bits per pixel.
PALETTE_BITS = (1, 2, 4, 8)
PLAIN_BITS = (*PALETTE_BITS, 16, 24, 32)
MASKED_BITS = (16, 24, 32)
MOST_COLOURS = 256
# TensorFlow has no longer strings.
MOST_BYTES = 2**31
OPAQUE = 255

# Masks of red, green, blue and alpha where a file has none. 24 bits can have no others.
MASKS_OF_16 = (0x7C00, 0x3E0, 0x1F, 0)
MASKS_OF_24 = (0xFF0000, 0xFF00, 0xFF)
MASKS_OF_32 = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
# A level of so many bits, and the mask's place, can be computed in 32 bits.
MOST_LEVEL_BITS = 16
MOST_SHIFT = 30


class Header(NamedTuple):
    """What a BMP says of itself. All fields are int64 [].

    Attributes:
        size: of the information header, in bytes.
        start: where the pixels begin in the file.
        width: in pixels.
        height: in pixels. It is negative if the first row is at the top.
        bits: per pixel.
        compression: one of the values above, or another.
        colours: in the palette.
    """

    size: Tensor
    start: Tensor
    width: Tensor
    height: Tensor
    bits: Tensor
    compression: Tensor
    colours: Tensor

    @property
    def row_bytes(self) -> Tensor:
        """int64 []: the bytes of a row, which is filled up to a multiple of four.

        At most MOST_BYTES, so that a false width cannot exceed 64 bits.
        """
        return tf.minimum((self.width * self.bits + 31) // 32 * 4, MOST_BYTES)

    @property
    def rows(self) -> Tensor:
        """int64 []: how many rows there are."""
        return tf.maximum(self.height, -self.height)


def is_understood(encoded: Tensor) -> Tensor:
    """Whether `decode_bitmap` decodes these bytes of a BMP: bool [].

    Run-length encoding, JPEG and PNG inside a BMP, and masks that are no levels are not. Bytes
    behind the pixels do not matter.
    """
    header = _read_header(encoded)
    is_plain = tf.equal(header.compression, PLAIN) & _is_one_of(header.bits, PLAIN_BITS)
    is_masked = tf.equal(header.compression, MASKED) & _is_one_of(header.bits, MASKED_BITS)
    masks = _read_masks(encoded, header)
    # 24 bits are read by bytes, in the one order that is usual.
    is_usual = tf.not_equal(header.bits, 24) | tf.reduce_all(tf.equal(masks[:3], MASKS_OF_24))
    has_levels = _have_levels(masks) & is_usual
    # Another size of the header than the known ones does not matter: its fields are in one order.
    is_known = is_plain | is_masked & has_levels
    is_sized = (header.width > 0) & tf.not_equal(header.height, 0)
    # Writers leave out what fills up the last row.
    last_row = (header.width * header.bits + 7) // 8
    end = header.start + header.row_bytes * (header.rows - 1) + last_row
    return is_known & is_sized & (end <= _count_bytes(encoded))


def decode_bitmap(encoded: Tensor) -> Tensor:
    """The colours of a BMP.

    Args:
        encoded: string [], the file's bytes, which are understood.

    Returns:
        uint8 [height, width, 3 or 4], RGB and perhaps alpha.
    """
    header = _read_header(encoded)
    # For the last row, which may not be filled up.
    filled = tf.strings.join([encoded, b"\0\0\0"])
    size = header.row_bytes * header.rows
    stored = tf.strings.substr(filled, header.start, size)
    palette = _read_palette(encoded, header)
    branches: list[tuple[Tensor, Callable[[], Tensor]]] = []
    for bits in PALETTE_BITS:
        branch = partial(_decode_palette, stored, bits, palette, header)
        branches.append((tf.equal(header.bits, bits), branch))
    is_masked = tf.equal(header.compression, MASKED) | tf.equal(header.bits, 16)
    has_masks = is_masked & tf.not_equal(header.bits, 24)
    branches.append((has_masks, lambda: _decode_masks(stored, encoded, header)))
    pixels = tf.case(branches, default=lambda: _decode_bytes(stored, header))
    return tf.cond(header.height > 0, lambda: tf.reverse(pixels, [0]), lambda: pixels)


def _decode_palette(stored: Tensor, bits: int, palette: Tensor, header: Header) -> Tensor:
    """uint8 [height, width, 3] of indices of 1 to 8 bits. The highest bits are the first pixel."""
    packed = tf.io.decode_raw(stored, tf.uint8)
    divisors = tf.constant([2**shift for shift in range(8 - bits, -1, -bits)], tf.uint8)
    highest = tf.constant(2**bits - 1, tf.uint8)
    indices = tf.bitwise.bitwise_and(packed[:, None] // divisors, highest)
    rows = tf.reshape(indices, tf.stack([header.rows, -1]))
    return tf.gather(palette, tf.cast(rows[:, : header.width], tf.int32))


def _decode_bytes(stored: Tensor, header: Header) -> Tensor:
    """uint8 [height, width, 3] of 24 or 32 bits: blue, green, red, perhaps a byte of nothing."""
    height = header.rows
    channels = header.bits // 8
    rows = tf.reshape(tf.io.decode_raw(stored, tf.uint8), tf.stack([height, -1]))
    pixels = rows[:, : header.width * channels]
    return tf.reshape(pixels, tf.stack([height, header.width, channels]))[..., 2::-1]


def _decode_masks(stored: Tensor, encoded: Tensor, header: Header) -> Tensor:
    """uint8 [height, width, 3 or 4] of 16 or 32 bits with a mask for each colour."""
    # Numbers with the highest bit are negative, which the masks cut off again.
    numbers = tf.cond(
        tf.equal(header.bits, 16),
        lambda: tf.cast(tf.io.decode_raw(stored, tf.uint16), tf.int32),
        lambda: tf.io.decode_raw(stored, tf.int32),
    )
    rows = tf.reshape(numbers, tf.stack([header.rows, -1]))[:, : header.width]
    lowest, highest = _find_levels(_read_masks(encoded, header))
    channels = []
    for at in range(4):
        most = tf.cast(highest[at], tf.int32)
        shifted = rows // tf.cast(lowest[at], tf.int32)
        levels = tf.bitwise.bitwise_and(shifted, most) * 255 // tf.maximum(most, 1)
        channels.append(tf.cast(levels, tf.uint8))
    rgb = tf.stack(channels[:3], axis=-1)
    alpha = channels[3]
    # Some writers reserve alpha and leave it 0 everywhere, for an opaque image.
    is_opaque = tf.equal(tf.reduce_max(alpha), 0)
    return tf.cond(is_opaque, lambda: rgb, lambda: tf.concat([rgb, alpha[..., None]], axis=-1))


def _read_header(encoded: Tensor) -> Header:
    size = _read_number(encoded, HEADER, 4)
    is_old = tf.equal(size, OLD_HEADER)

    def read_field(old_at: int, old_size: int, at: int, size: int) -> Tensor:
        old = _read_number(encoded, old_at, old_size) if old_size else tf.constant(0, tf.int64)
        return tf.where(is_old, old, _read_number(encoded, at, size))

    height = read_field(20, 2, 22, 4)
    bits = read_field(24, 2, 28, 2)
    compression = read_field(0, 0, 30, 4)
    colours = read_field(0, 0, 46, 4)
    # 0 means as many as there can be.
    most = tf.gather(tf.constant([2**bits for bits in range(9)], tf.int64), tf.minimum(bits, 8))
    colours = tf.where(tf.equal(colours, 0), most, colours)

    # Some writers leave the place of the pixels at 0, or at the palette in front of them.
    has_palette = bits <= 8
    palette_bytes = tf.where(has_palette, colours * _count_entry_bytes(size), 0)
    are_behind = tf.equal(compression, MASKED) & tf.equal(size, 40)
    behind_header = HEADER + size
    start = _read_number(encoded, 10, 4)
    is_unset = tf.equal(start, 0) | has_palette & tf.equal(start, behind_header)
    following = (
        behind_header + palette_bytes + tf.where(are_behind, tf.constant(MASKS_BYTES, tf.int64), 0)
    )
    return Header(
        size=size,
        start=tf.where(is_unset, following, start),
        width=read_field(18, 2, 18, 4),
        height=tf.where(height < 2**31, height, height - 2**32),
        bits=bits,
        compression=compression,
        colours=colours,
    )


def _read_palette(encoded: Tensor, header: Header) -> Tensor:
    """uint8 [256, 3]: RGB. Colours that the file does not have are black."""
    entry = _count_entry_bytes(header.size)
    # A false size must not fail the image: it is cut to the file.
    start = tf.minimum(HEADER + header.size, _count_bytes(encoded))
    size = tf.minimum(header.colours, MOST_COLOURS) * entry
    table = tf.io.decode_raw(tf.strings.substr(encoded, start, size), tf.uint8)
    num_missing = MOST_COLOURS * entry - tf.size(table, tf.int64)
    table = tf.pad(table, [[0, num_missing]])
    # Stored as blue, green, red, and perhaps a byte of nothing.
    return tf.reshape(table, tf.stack([MOST_COLOURS, entry]))[:, 2::-1]


def _read_masks(encoded: Tensor, header: Header) -> Tensor:
    """int64 [4]: the masks of red, green, blue and alpha. No mask for alpha is 0."""
    given = tf.stack([_read_number(encoded, MASKS + 4 * at, 4) for at in range(4)])
    given *= tf.cast(tf.stack([True, True, True, header.size >= ALPHA_HEADER]), tf.int64)
    is_given = tf.equal(header.compression, MASKED) & tf.reduce_any(tf.not_equal(given[:3], 0))
    usual = tf.where(tf.equal(header.bits, 32), MASKS_OF_32, MASKS_OF_16)
    return tf.where(is_given, given, tf.cast(usual, tf.int64))


def _find_levels(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest bit of each mask, and its largest level: int64 [4] each. An empty one has 0."""
    powers = tf.constant([2**shift for shift in range(32)], tf.int64)
    bits = masks[:, None] // powers % 2
    # Of equal ones `argmax` is the first.
    lowest = tf.gather(powers, tf.argmax(bits, axis=1))
    counts = tf.reduce_sum(bits, axis=1)
    highest = tf.gather(tf.concat([powers, [2**32]], axis=0), counts) - 1
    return lowest, highest


def _have_levels(masks: Tensor) -> Tensor:
    """Whether each mask is a run of bits that can be computed with: bool []."""
    lowest, highest = _find_levels(masks)
    is_run = tf.equal(masks, lowest * highest)
    is_small = (highest < 2**MOST_LEVEL_BITS) & (lowest <= 2**MOST_SHIFT)
    return tf.reduce_all(is_run & is_small) & tf.reduce_all(masks[:3] > 0)


def _count_entry_bytes(header_size: Tensor) -> Tensor:
    """int64 []: the bytes of each colour of the palette."""
    return tf.where(tf.equal(header_size, OLD_HEADER), tf.constant(3, tf.int64), 4)


def _is_one_of(value: Tensor, known: tuple[int, ...]) -> Tensor:
    return tf.reduce_any(tf.equal(value, known))


def _count_bytes(encoded: Tensor) -> Tensor:
    return tf.cast(tf.strings.length(encoded), tf.int64)


def _read_number(encoded: Tensor, at: int, size: int) -> Tensor:
    """int64 []: the unsigned little-endian number of `size` bytes at `at`."""
    values = tf.cast(_read_bytes(encoded, at, size), tf.int64)
    return tf.reduce_sum(values * [256**power for power in range(size)])


def _read_bytes(encoded: Tensor, at: int, size: int) -> Tensor:
    """int32 [size]: bytes of the file. Those beyond its end are zero."""
    start = tf.minimum(at, tf.strings.length(encoded))
    found = tf.io.decode_raw(tf.strings.substr(encoded, start, size), tf.uint8)
    padded = tf.pad(found, [[0, size - tf.shape(found)[0]]])
    return tf.cast(padded, tf.int32)
