"""The kinds of BMP files that TensorFlow decodes, but in other colours than those of the image.

It returns palette indices as if they were grey, and takes four bytes per pixel for blue, green, red
and alpha, whatever the header says. It never looks at the compression.
"""

from typing import Any

import tensorflow as tf

Tensor = Any

# Where the information header begins. Its first field is its own size.
HEADER = 14
BITS = 28
COMPRESSION = 30
MASKS = 54
# Headers of this size or more have a fourth mask, for alpha.
ALPHA_HEADER = 56

# Values of the compression: none, or masks that say where the colours are.
PLAIN = 0
MASKED = 3

PALETTE_BYTES = 256 * 4
OPAQUE = 255
# TensorFlow swaps blue and red: which of its channels has each stored byte of a pixel.
CHANNEL_OF_BYTE = (2, 1, 0, 3)


def is_understood(encoded: Tensor) -> Tensor:
    """Whether the colours of a BMP can be right: bool [].

    Run-length encoding, 16 bits per pixel, colours that share a byte and OS/2 headers are not.
    """
    header_size = _read_number(encoded, HEADER, 4)
    bits = _read_number(encoded, BITS, 2)
    compression = _read_number(encoded, COMPRESSION, 4)
    masks = _read_masks(encoded)
    # Each colour has one whole byte.
    is_byte = tf.reduce_all(tf.reduce_sum(masks[:3], axis=1) == OPAQUE)
    is_byte &= tf.reduce_all(tf.reduce_max(masks[:3], axis=1) == OPAQUE)
    is_plain = tf.equal(compression, PLAIN)
    is_masked = tf.equal(compression, MASKED) & tf.equal(bits, 32) & is_byte
    # TensorFlow refuses less than 8 bits by itself.
    is_whole = tf.reduce_any(tf.equal(bits, [8, 24, 32]))
    # An unknown size of the header does not matter where no field behind it is used.
    return (is_plain & is_whole | is_masked) & tf.not_equal(header_size, 12)


def correct_colours(pixels: Tensor, encoded: Tensor) -> Tensor:
    """The colours of a BMP.

    Args:
        pixels: uint8 [height, width, 1, 3 or 4], from TensorFlow.
        encoded: string [], the file's bytes, which are understood.

    Returns:
        uint8 [height, width, 3 or 4], RGB and perhaps alpha.
    """
    channels = tf.shape(pixels)[-1]
    is_masked = tf.equal(_read_number(encoded, COMPRESSION, 4), MASKED)
    return tf.case(
        [
            (tf.equal(channels, 1), lambda: _look_up_palette(pixels, encoded)),
            (tf.equal(channels, 4) & is_masked, lambda: _order_channels(pixels, encoded)),
        ],
        # The fourth byte is padding.
        default=lambda: pixels[..., :3],
    )


def _order_channels(pixels: Tensor, encoded: Tensor) -> Tensor:
    masks = _read_masks(encoded)
    channel_of_byte = tf.constant(CHANNEL_OF_BYTE)
    channels = tf.gather(channel_of_byte, tf.argmax(masks, axis=1))
    rgb = tf.gather(pixels, channels[:3], axis=-1)
    has_field = _read_number(encoded, HEADER, 4) >= ALPHA_HEADER
    has_mask = tf.equal(tf.reduce_sum(masks[3]), OPAQUE) & tf.equal(tf.reduce_max(masks[3]), OPAQUE)

    def with_alpha() -> Tensor:
        alpha = tf.gather(pixels, channels[3:], axis=-1)
        # Some writers reserve alpha and leave it 0 everywhere, for an opaque image.
        is_left_empty = tf.equal(tf.reduce_max(alpha), 0)
        return tf.cond(is_left_empty, lambda: rgb, lambda: tf.concat([rgb, alpha], axis=-1))

    return tf.cond(has_field & has_mask, with_alpha, lambda: rgb)


def _look_up_palette(pixels: Tensor, encoded: Tensor) -> Tensor:
    # The palette follows the information header. A false size must not fail the image: it is cut to
    # the file.
    most = tf.cast(tf.strings.length(encoded) - HEADER, tf.int64)
    start = tf.clip_by_value(_read_number(encoded, HEADER, 4), 0, most) + HEADER
    table = tf.strings.substr(encoded, start, tf.constant(PALETTE_BYTES, tf.int64))
    table = tf.io.decode_raw(table, tf.uint8)
    num_missing = PALETTE_BYTES - tf.shape(table)[0]
    table = tf.pad(table, [[0, num_missing]])
    # Stored as blue, green, red, unused.
    palette = tf.reshape(table, [256, 4])[:, 2::-1]
    indices = tf.cast(pixels[..., 0], tf.int32)
    return tf.gather(palette, indices)


def _read_masks(encoded: Tensor) -> Tensor:
    """int32 [4, 4]: the bytes of the masks of red, green, blue and alpha."""
    masks = _read_bytes(encoded, MASKS, 16)
    return tf.reshape(masks, [4, 4])


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
