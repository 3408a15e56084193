"""One encoded image to upright RGB."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from job.images.orientation import UPRIGHT, read_orientation

Tensor = Any

# Where an extended WebP file keeps its flags, one byte, and two of them.
WEBP_FLAGS = 20
WEBP_ANIMATED = 0x02
WEBP_ALPHA = 0x10

BMP_HEADER = 14
PALETTE_BYTES = 256 * 4

# As a length of a substring: all that follows.
TO_THE_END = 2**31 - 1


def decode(encoded: Tensor) -> Tensor:
    """Decode a JPEG, PNG, BMP, GIF or WebP image (of an animation: the first frame).

    Grey is widened, alpha is composited on white, and EXIF orientation is applied. CMYK and 16-bit
    samples become 8-bit RGB the way TensorFlow does it. A single transparent colour (GIF, and the
    tRNS of grey and RGB in PNG) is taken as that colour: TensorFlow reports no alpha there.

    Args:
        encoded: string [], the file's bytes.

    Returns:
        uint8 [height, width, 3], RGB, the right way up.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not such an image, or a damaged one.
    """
    harmless = _make_harmless(encoded)
    pixels = tf.io.decode_image(harmless, channels=0, expand_animations=False)
    # uint8 [h, w, 1 to 4]: the rank is not known to `decode_image`.
    pixels = tf.ensure_shape(pixels, [None, None, None])
    rgb = tf.cond(
        _has_magic(encoded, 0, b"BM"),
        lambda: _correct_bmp(pixels, encoded),
        lambda: _composite_on_white(pixels),
    )
    rgb = tf.ensure_shape(rgb, [None, None, 3])
    orientation = read_orientation(encoded)
    return _turn_upright(rgb, orientation)


def _make_harmless(encoded: Tensor) -> Tensor:
    """The bytes, changed so that TensorFlow 2.21 decodes or refuses them, but survives.

    - It always writes the frame of an animated WebP as RGBA, even into the RGB buffer that it makes
      where the header says "no alpha". That corrupts the heap and ends the process. So the flag is
      set. Opaque frames stay opaque.
    - It allocates what a JPEG XL header says, without a limit. That format is not promised, so it
      is replaced by bytes in no format.
    """
    is_bare_jpeg_xl = _has_magic(encoded, 0, b"\xff\x0a")
    is_boxed_jpeg_xl = _has_magic(encoded, 0, b"\0\0\0\x0cJXL ")
    is_jpeg_xl = is_bare_jpeg_xl | is_boxed_jpeg_xl
    is_webp = _has_magic(encoded, 8, b"WEBPVP8X")
    # A file that ends before its flags has none to read.
    has_flags = tf.strings.length(encoded) > WEBP_FLAGS
    is_extended_webp = is_webp & has_flags

    def set_alpha_flag() -> Tensor:
        """The bytes of an extended WebP, with the alpha flag if it is animated."""
        byte = tf.strings.substr(encoded, WEBP_FLAGS, 1)
        byte = tf.io.decode_raw(byte, tf.uint8)[0]
        flags = tf.cast(byte, tf.int32)
        is_animated = tf.not_equal(flags & WEBP_ANIMATED, 0)
        # No operation makes a string of a number, so the new byte comes from a table.
        table = [bytes([flag | WEBP_ALPHA]) for flag in range(256)]
        patched = tf.gather(table, flags)
        head = tf.strings.substr(encoded, 0, WEBP_FLAGS)
        tail = tf.strings.substr(encoded, WEBP_FLAGS + 1, TO_THE_END)
        return tf.cond(
            is_animated,
            lambda: tf.strings.join([head, patched, tail]),
            lambda: encoded,
        )

    return tf.case(
        [
            (is_jpeg_xl, lambda: tf.constant(b"JPEG XL")),
            (is_extended_webp, set_alpha_flag),
        ],
        default=lambda: encoded,
    )


def _has_magic(encoded: Tensor, at: int, magic: bytes) -> Tensor:
    # A start beyond the end is an error, so it is moved to the end.
    length = tf.strings.length(encoded)
    start = tf.minimum(at, length)
    found = tf.strings.substr(encoded, start, len(magic))
    return tf.equal(found, magic)


def _composite_on_white(pixels: Tensor) -> Tensor:
    """uint8 [h, w, 1 to 4] (grey, grey + alpha, RGB, RGB + alpha) -> uint8 [h, w, 3]."""
    channels = tf.shape(pixels)[-1]
    rgb = tf.cond(
        channels < 3,
        lambda: tf.repeat(pixels[..., :1], 3, axis=-1),
        lambda: pixels[..., :3],
    )

    def composite() -> Tensor:
        alpha = pixels[..., -1:]
        # Both products and their sum fit 16 bits, which is half the memory of floats.
        colour = tf.cast(rgb, tf.uint16)
        alpha = tf.cast(alpha, tf.uint16)
        weighted = colour * alpha + 255 * (255 - alpha)
        # Half of the divisor is added, so the result is rounded to the nearest level.
        level = (weighted + 127) // 255
        return tf.cast(level, tf.uint8)

    return tf.cond(channels % 2 == 0, composite, lambda: rgb)


def _correct_bmp(pixels: Tensor, encoded: Tensor) -> Tensor:
    """The colours of a BMP, uint8 [h, w, 3].

    TensorFlow returns its palette indices as if they were grey, and its padding byte as if it were
    alpha.
    """
    channels = tf.shape(pixels)[-1]

    def look_up_palette() -> Tensor:
        # The palette follows the information header, which begins with its own size.
        size_bytes = tf.strings.substr(encoded, BMP_HEADER, 4)
        header_size = tf.io.decode_raw(size_bytes, tf.int32)[0]
        # A false size must not fail the image: it is cut to the file.
        most = tf.strings.length(encoded) - BMP_HEADER
        start = tf.clip_by_value(header_size, 0, most) + BMP_HEADER
        table = tf.strings.substr(encoded, start, PALETTE_BYTES)
        table = tf.io.decode_raw(table, tf.uint8)
        num_missing = PALETTE_BYTES - tf.shape(table)[0]
        table = tf.pad(table, [[0, num_missing]])
        # Stored as blue, green, red, unused.
        palette = tf.reshape(table, [256, 4])[:, 2::-1]
        indices = tf.cast(pixels[..., 0], tf.int32)
        return tf.gather(palette, indices)

    return tf.cond(
        tf.equal(channels, 1),
        look_up_palette,
        lambda: pixels[..., :3],
    )


def _turn_upright(image: Tensor, value: Tensor) -> Tensor:
    """Undo EXIF orientation `value` (int32 [], 1 to 8)."""

    def change_if(values: list[int], change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        is_listed = tf.reduce_any(tf.equal(value, values))
        return tf.cond(is_listed, lambda: change(image), lambda: image)

    def turn() -> Tensor:
        # Every orientation is a transposition or not, then mirrored rows or not, then mirrored
        # columns or not.
        turned = change_if([5, 6, 7, 8], lambda image: tf.transpose(image, [1, 0, 2]), image)
        turned = change_if([3, 4, 7, 8], lambda image: tf.reverse(image, [0]), turned)
        return change_if([2, 3, 6, 7], lambda image: tf.reverse(image, [1]), turned)

    return tf.cond(tf.equal(value, UPRIGHT), lambda: image, turn)
