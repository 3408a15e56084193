"""One encoded image to upright RGB."""

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from job.images import bitmap, gif
from job.images.blocks import contains, find_block, has_bytes, read_jpeg_segment, read_png_chunk
from job.images.branches import ENCODED, rare_branch
from job.images.formats import FORMATS, choose_by_format
from job.images.orientation import EXIF_PREFIX, UPRIGHT, read_orientation

Tensor = Any

# Where an extended WebP file keeps its flags, one byte, and two of them.
WEBP_FLAGS = 20
WEBP_ANIMATED = 0x02
WEBP_ALPHA = 0x10

# The segment of a JPEG in which Adobe's programs say how its colours are stored. This one says that
# all four are inverted.
APP14 = 0xEE
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
CMYK_CHANNELS = 4

# The chunk at the end of a PNG.
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
# Where a PNG keeps its type of colour, and the types that may have one transparent colour.
PNG_COLOUR_TYPE = 25
PNG_GREY, PNG_RGB = b"\x00", b"\x02"

# As a length of a substring: all that follows.
TO_THE_END = 2**31 - 1


def decode(encoded: Tensor, formats: Sequence[str] = FORMATS) -> Tensor:
    """Decode a JPEG, PNG, BMP, GIF or WebP image (of an animation: the first frame).

    Grey is widened, alpha is composited on white, and EXIF orientation is applied. CMYK and 16-bit
    samples become 8-bit RGB the way TensorFlow does it, and CMYK counts as inverted, as it is in
    nearly all files.

    Args:
        encoded: string [], the file's bytes.
        formats: those of FORMATS that occur. To trace and to optimize the graph of all takes
            seconds.

    Returns:
        uint8 [height, width, 3], RGB, the right way up.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not such an image, or a damaged one.
    """
    branches = {}
    if "JPEG" in formats:
        branches["JPEG"] = partial(_decode_jpeg, encoded)
    others = tuple(name for name in FORMATS if name in formats and name != "JPEG")
    if others:
        branches["others"] = partial(_make_other_decoder(others), encoded)
    rgb = choose_by_format(encoded, branches)
    return tf.ensure_shape(rgb, [None, None, 3])


def _decode_jpeg(encoded: Tensor) -> Tensor:
    channels = tf.io.extract_jpeg_shape(encoded)[-1]
    is_cmyk = tf.equal(channels, CMYK_CHANNELS)
    marked = tf.cond(is_cmyk, lambda: _mark_cmyk(encoded), lambda: encoded)
    rgb = tf.io.decode_jpeg(marked, channels=3)
    # To walk through the segments costs more than half of the decoding. Most files that end up in a
    # data set have no EXIF at all.
    may_be_turned = contains(encoded, EXIF_PREFIX)
    return tf.cond(may_be_turned, lambda: _undo_orientation(rgb, encoded), lambda: rgb)


@functools.cache
def _make_other_decoder(formats: tuple[str, ...]) -> Callable[[Tensor], Tensor]:
    """Make a decoder of formats other than JPEG. Made once, so that all graphs share its trace."""
    return rare_branch(ENCODED)(partial(_decode_other, formats=formats))


def _decode_other(encoded: Tensor, formats: Sequence[str]) -> Tensor:
    decoders = {"PNG": _decode_png, "GIF": _decode_gif, "BMP": _decode_bitmap, "WebP": _decode_webp}
    branches = {name: partial(decoders[name], encoded) for name in formats}
    pixels = choose_by_format(encoded, branches)
    pixels = tf.ensure_shape(pixels, [None, None, None])
    rgb = _composite_on_white(pixels)
    rgb = tf.ensure_shape(rgb, [None, None, 3])
    orientation = read_orientation(encoded, formats)
    return _turn_upright(rgb, orientation)


@rare_branch(tf.TensorSpec([None, None, 3], tf.uint8), ENCODED)
def _undo_orientation(rgb: Tensor, encoded: Tensor) -> Tensor:
    orientation = read_orientation(encoded, ["JPEG"])
    return _turn_upright(rgb, orientation)


def _decode_any(encoded: Tensor) -> Tensor:
    """uint8 [h, w, 1 to 4] by TensorFlow's decoder of all formats."""
    pixels = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    # Its rank is not known.
    return tf.ensure_shape(pixels, [None, None, None])


@rare_branch(ENCODED)
def _decode_gif(encoded: Tensor) -> Tensor:
    frame = gif.find_frame(encoded)
    pixels = _decode_any(gif.isolate_frame(encoded, frame))
    return gif.put_on_canvas(pixels, encoded, frame)


@rare_branch(ENCODED)
def _decode_bitmap(encoded: Tensor) -> Tensor:
    # TensorFlow decodes some kinds to noise, so it is given none: bytes in no format are refused.
    return tf.cond(
        bitmap.is_understood(encoded),
        lambda: bitmap.decode_bitmap(encoded),
        lambda: _decode_any(tf.constant(b"BMP")),
    )


def _decode_webp(encoded: Tensor) -> Tensor:
    return _decode_any(_make_harmless(encoded))


def _decode_png(encoded: Tensor) -> Tensor:
    ended = _end_png(encoded)
    # With 4 channels TensorFlow turns a transparent colour into alpha, and else ignores it.
    return tf.cond(
        _has_transparent_colour(encoded),
        lambda: tf.io.decode_png(ended, channels=4),
        lambda: _decode_any(ended),
    )


def _end_png(encoded: Tensor) -> Tensor:
    """The bytes with the chunk that ends a PNG: the pixels have checksums of their own."""
    length = tf.strings.length(encoded)
    is_ended = has_bytes(encoded, tf.maximum(length - len(PNG_END), 0), PNG_END)

    def add_end() -> Tensor:
        # Cut in that chunk, the file ends with the beginning of it.
        kept = tf.constant(0)
        for size in range(1, len(PNG_END)):
            is_there = has_bytes(encoded, tf.maximum(length - size, 0), PNG_END[:size])
            kept = tf.where(is_there, size, kept)
        missing = tf.gather([PNG_END[size:] for size in range(len(PNG_END))], kept)
        return tf.strings.join([encoded, missing])

    return tf.cond(is_ended, lambda: encoded, add_end)


def _make_harmless(encoded: Tensor) -> Tensor:
    """The bytes, changed so that TensorFlow 2.21 survives, and is right or refuses them.

    - It always writes the frame of an animated WebP as RGBA, even into the RGB buffer that it makes
      where the header says "no alpha". That corrupts the heap and ends the process. So the flag is
      set. Opaque frames stay opaque.
    - It allocates what a JPEG XL header says, without a limit. That format is not promised, so it
      is replaced by bytes in no format.
    """
    is_bare_jpeg_xl = has_bytes(encoded, 0, b"\xff\x0a")
    is_boxed_jpeg_xl = has_bytes(encoded, 0, b"\0\0\0\x0cJXL ")
    is_jpeg_xl = is_bare_jpeg_xl | is_boxed_jpeg_xl
    is_webp = has_bytes(encoded, 8, b"WEBPVP8X")
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


@rare_branch(ENCODED)
def _mark_cmyk(jpeg: Tensor) -> Tensor:
    """The bytes of a CMYK image, with Adobe's segment if it has none.

    TensorFlow takes such an image without the segment for one that is not inverted. Hardly any
    writer makes such files, and some lose the segment.
    """
    find = partial(read_jpeg_segment, marker=APP14, prefix=b"Adobe")
    is_marked = tf.not_equal(find_block(jpeg, 2, find), b"")
    start = tf.strings.substr(jpeg, 0, 2)
    rest = tf.strings.substr(jpeg, 2, TO_THE_END)
    return tf.cond(is_marked, lambda: jpeg, lambda: tf.strings.join([start, ADOBE, rest]))


def _has_transparent_colour(encoded: Tensor) -> Tensor:
    """Whether a PNG is grey or RGB and one colour of it is transparent: bool []."""
    is_grey = has_bytes(encoded, PNG_COLOUR_TYPE, PNG_GREY)
    may_have_one = is_grey | has_bytes(encoded, PNG_COLOUR_TYPE, PNG_RGB)

    def has_chunk() -> Tensor:
        chunk = find_block(encoded, 8, partial(read_png_chunk, name=b"tRNS"))
        return tf.not_equal(chunk, b"")

    return tf.cond(may_have_one, has_chunk, lambda: tf.constant(False))


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
