"""One encoded image to upright RGB."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from job.images.orientation import UPRIGHT, orientation

Tensor = Any

_WEBP_FLAGS = 20  # the place of this byte in an extended WebP file
_WEBP_ANIMATED, _WEBP_ALPHA = 0x02, 0x10
_ALL = 2**31 - 1


def decode(encoded: Tensor) -> Tensor:
    """Decodes a JPEG, PNG, BMP, GIF or WebP image (of an animation: the first frame).

    Grey is widened, alpha is composited on white, EXIF orientation is applied; CMYK and 16-bit
    samples become 8-bit RGB the way TensorFlow does it. A single transparent colour (GIF; PNG's
    tRNS of grey and RGB) is taken as that colour: TensorFlow tells no alpha there.

    Args:
        encoded: string [], the file's bytes.

    Returns:
        uint8 [height, width, 3], RGB, the right way up.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such image, or a damaged one.
    """
    pixels = tf.io.decode_image(_harmless(encoded), channels=0, expand_animations=False)
    pixels = tf.ensure_shape(pixels, [None, None, None])  # uint8 [h, w, 1 to 4]
    rgb = tf.cond(
        _has(encoded, 0, b"BM"), lambda: _bmp_colours(pixels, encoded), lambda: _on_white(pixels)
    )
    return _upright(tf.ensure_shape(rgb, [None, None, 3]), orientation(encoded))


def _harmless(encoded: Tensor) -> Tensor:
    """The bytes, made so that TensorFlow 2.21 decodes or refuses them, but survives.

    - It always writes the frame of an animated WebP as RGBA, also into the RGB buffer that it makes
    where the header
      says "no alpha", which corrupts the heap and ends the process. So the flag is set; opaque
      frames stay opaque.
    - It allocates whatever a JPEG XL header says, without a limit. So that format, which we do not
    promise, is none.
    """
    is_jpeg_xl = _has(encoded, 0, b"\xff\x0a") | _has(encoded, 0, b"\0\0\0\x0cJXL ")
    is_extended_webp = _has(encoded, 8, b"WEBPVP8X") & (tf.strings.length(encoded) > _WEBP_FLAGS)
    return tf.case(
        [
            (is_jpeg_xl, lambda: tf.constant(b"JPEG XL")),
            (is_extended_webp, lambda: _with_alpha_flag(encoded)),
        ],
        default=lambda: encoded,
    )


def _has(encoded: Tensor, at: int, magic: bytes) -> Tensor:
    return tf.equal(
        tf.strings.substr(encoded, tf.minimum(at, tf.strings.length(encoded)), len(magic)), magic
    )


def _with_alpha_flag(encoded: Tensor) -> Tensor:
    flags = tf.cast(
        tf.io.decode_raw(tf.strings.substr(encoded, _WEBP_FLAGS, 1), tf.uint8)[0], tf.int32
    )
    is_animated = tf.not_equal(flags & _WEBP_ANIMATED, 0)
    patched = tf.gather([bytes([byte | _WEBP_ALPHA]) for byte in range(256)], flags)
    head, tail = (
        tf.strings.substr(encoded, 0, _WEBP_FLAGS),
        tf.strings.substr(encoded, _WEBP_FLAGS + 1, _ALL),
    )
    return tf.cond(is_animated, lambda: tf.strings.join([head, patched, tail]), lambda: encoded)


def _on_white(pixels: Tensor) -> Tensor:
    """uint8 [h, w, 1 to 4] (grey, grey + alpha, RGB, RGB + alpha) -> uint8 [h, w, 3]."""
    channels = tf.shape(pixels)[-1]
    rgb = tf.cond(
        channels < 3, lambda: tf.repeat(pixels[..., :1], 3, axis=-1), lambda: pixels[..., :3]
    )
    return tf.cond(channels % 2 == 0, lambda: _composite(rgb, pixels[..., -1:]), lambda: rgb)


def _composite(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Rounded to the nearest level. Both products and their sum fit 16 bits: half the memory of floats."""
    rgb, alpha = tf.cast(rgb, tf.uint16), tf.cast(alpha, tf.uint16)
    return tf.cast((rgb * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def _bmp_colours(pixels: Tensor, encoded: Tensor) -> Tensor:
    """TensorFlow returns a BMP's palette indices as if they were grey, and its padding byte as if it were alpha."""
    channels = tf.shape(pixels)[-1]
    return tf.cond(
        tf.equal(channels, 1),
        lambda: tf.gather(_bmp_palette(encoded), tf.cast(pixels[..., 0], tf.int32)),
        lambda: pixels[..., :3],
    )


def _bmp_palette(encoded: Tensor) -> Tensor:
    """uint8 [256, 3], RGB. It follows the information header, whose size stands in the first of its bytes."""
    header_size = tf.io.decode_raw(tf.strings.substr(encoded, 14, 4), tf.int32)[0]
    start = tf.clip_by_value(header_size, 0, tf.strings.length(encoded) - 14) + 14
    table = tf.io.decode_raw(tf.strings.substr(encoded, start, 256 * 4), tf.uint8)
    table = tf.pad(table, [[0, 256 * 4 - tf.shape(table)[0]]])
    return tf.reshape(table, [256, 4])[:, 2::-1]  # stored as blue, green, red, unused


def _upright(image: Tensor, value: Tensor) -> Tensor:
    """Undoes EXIF orientation `value` (int32 [], 1 to 8)."""
    return tf.cond(tf.equal(value, UPRIGHT), lambda: image, lambda: _turned(image, value))


def _turned(image: Tensor, value: Tensor) -> Tensor:
    """Every orientation is perhaps a transposition, then perhaps mirrored rows, then perhaps mirrored columns."""

    def when(values: list[int], change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        return tf.cond(tf.reduce_any(tf.equal(value, values)), lambda: change(image), lambda: image)

    image = when([5, 6, 7, 8], lambda image: tf.transpose(image, [1, 0, 2]), image)
    image = when([3, 4, 7, 8], lambda image: tf.reverse(image, [0]), image)
    return when([2, 3, 6, 7], lambda image: tf.reverse(image, [1]), image)
