"""What a GIF says beside its pixels: its transparent colour, and where the first frame is.

TensorFlow decodes the frame alone, cuts it off if it is not at the corner of the canvas, and makes
its transparent pixels black.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from job.images.blocks import has_bytes, read_number

Tensor = Any

# The size of the canvas, and the flags and the size of the palette of all frames.
CANVAS = 6
FLAGS = 10
PALETTE = 13
HAS_PALETTE = 0x80
MOST_COLOURS = 256
# Behind the start of a frame: its place, its size, its flags, its own palette.
FRAME_CORNER = 1
FRAME_SIZE = CORNER_END = 5
FRAME_FLAGS = 9
FRAME_PALETTE = 10

EXTENSION = 0x21
CONTROL = b"\x21\xf9\x04"
# Behind the start of a control: whether a colour is transparent, and which one.
IS_TRANSPARENT = 3
TRANSPARENT_INDEX = 6

# So many blocks may come before the first frame.
MOST_BLOCKS = 10_000
# The largest canvas that a smaller frame is put on: TensorFlow's limit for a PNG.
MOST_PIXELS = 2**29 // 3
WHITE = 255
# As a length of a substring: all that follows.
TO_THE_END = np.int64(2**31 - 1)


class Frame(NamedTuple):
    """Where a GIF has its first frame and what controls it: int64 [] each. -1 is nowhere."""

    start: Tensor
    control: Tensor


def find_frame(encoded: Tensor) -> Frame:
    """Pass over the blocks in front of the first frame."""
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    flags = _read_byte(encoded, FLAGS)
    first = PALETTE + _count_palette_bytes(flags)
    nowhere = tf.constant(-1, tf.int64)

    def step(at: Tensor, is_inside: Tensor, control: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        """One block of an extension, or the start of an extension or a frame."""
        size = _read_byte(encoded, at)
        is_outside = tf.equal(is_inside, False)
        is_extension = is_outside & tf.equal(size, EXTENSION)
        is_control = is_extension & has_bytes(encoded, at, CONTROL)
        is_frame = is_outside & tf.equal(size, ord(","))
        # An extension has a label, and blocks up to an empty one.
        following = tf.where(is_inside, at + 1 + size, at + 2)
        following = tf.where(is_inside | is_extension, following, length)
        return (
            following,
            tf.where(is_inside, size > 0, is_extension),
            tf.where(is_control, at, control),
            tf.where(is_frame, at, nowhere),
        )

    _, _, control, start = tf.while_loop(
        lambda at, *_: at < length,
        step,
        (first, tf.constant(False), nowhere, nowhere),
        maximum_iterations=MOST_BLOCKS,
    )
    return Frame(start, control)


def isolate_frame(encoded: Tensor, frame: Frame) -> Tensor:
    """The bytes with the first frame at the corner and white for transparency: string [].

    TensorFlow would draw a frame in a picture of its own size at its place on the canvas, and so
    cut it off. What is in front of the frame is left out, so that TensorFlow knows of no
    transparency: it would make such pixels black.
    """
    flags = _read_byte(encoded, frame.control + IS_TRANSPARENT)
    is_transparent = (frame.control >= 0) & tf.equal(flags % 2, 1)
    index = _read_byte(encoded, frame.control + TRANSPARENT_INDEX)
    own_flags = _read_byte(encoded, frame.start + FRAME_FLAGS)
    has_own = own_flags >= HAS_PALETTE
    shared_end = PALETTE + _count_palette_bytes(_read_byte(encoded, FLAGS))
    own_end = FRAME_PALETTE + _count_palette_bytes(own_flags)

    def change() -> Tensor:
        head = tf.strings.substr(encoded, tf.constant(0, tf.int64), shared_end)
        tail = tf.strings.substr(encoded, frame.start + CORNER_END, TO_THE_END)
        tail = tf.strings.join([b",\0\0\0\0", tail])
        # A colour that is not in its palette is that of no pixel.
        nowhere = tf.constant(MOST_COLOURS, tf.int64)
        shared_index = tf.where(is_transparent & tf.equal(has_own, False), index, nowhere)
        own_index = tf.where(is_transparent & has_own, index, nowhere)
        head = _whiten(head, PALETTE + 3 * shared_index, shared_end)
        return tf.strings.join([head, _whiten(tail, FRAME_PALETTE + 3 * own_index, own_end)])

    is_whole = frame.start + FRAME_PALETTE <= tf.cast(tf.strings.length(encoded), tf.int64)
    return tf.cond((frame.start >= 0) & is_whole, change, lambda: encoded)


def put_on_canvas(pixels: Tensor, encoded: Tensor, frame: Frame) -> Tensor:
    """The first frame, with white around it where the canvas is larger.

    Args:
        pixels: uint8 [height, width, channels], where the frame is at the corner.
        encoded: string [], the file's bytes.
        frame: where it is.
    """

    def read_pair(at: Tensor) -> Tensor:
        """int64 [2]: vertical and horizontal, which are stored the other way around."""
        return tf.stack([_read_number(encoded, at + 2), _read_number(encoded, at)])

    canvas = read_pair(CANVAS)
    corner = read_pair(frame.start + FRAME_CORNER)
    size = read_pair(frame.start + FRAME_SIZE)
    after = canvas - corner - size
    are_read = tf.reduce_all(size <= tf.shape(pixels, tf.int64)[:2])
    fits = tf.reduce_all(after >= 0) & (canvas[0] * canvas[1] <= MOST_PIXELS)
    is_smaller = tf.reduce_any(corner + after > 0)

    def add_margins() -> Tensor:
        margins = tf.pad(tf.stack([corner, after], axis=1), [[0, 1], [0, 0]])
        return tf.pad(pixels[: size[0], : size[1]], margins, constant_values=WHITE)

    is_small = (frame.start >= 0) & are_read & fits & is_smaller
    return tf.cond(is_small, add_margins, lambda: pixels)


def _whiten(text: Tensor, at: Tensor, end: Tensor) -> Tensor:
    """The bytes with a white colour at a place, if that is in front of `end` and of their end."""
    length = tf.cast(tf.strings.length(text), tf.int64)
    is_inside = (at < end) & (at + 3 <= length)

    def replace() -> Tensor:
        before = tf.strings.substr(text, tf.constant(0, tf.int64), at)
        after = tf.strings.substr(text, at + 3, TO_THE_END)
        return tf.strings.join([before, b"\xff\xff\xff", after])

    return tf.cond(is_inside, replace, lambda: text)


def _count_palette_bytes(flags: Tensor) -> Tensor:
    sizes = tf.constant([3 * 2**bits for bits in range(1, 9)], tf.int64)
    return tf.where(flags >= HAS_PALETTE, tf.gather(sizes, flags % 8), 0)


def _read_byte(encoded: Tensor, at: Any) -> Tensor:
    return _read_little(encoded, at, 1)


def _read_number(encoded: Tensor, at: Any) -> Tensor:
    return _read_little(encoded, at, 2)


def _read_little(encoded: Tensor, at: Any, size: int) -> Tensor:
    """int64 []: the little-endian number at a place. Beyond the ends of the file it is zero."""
    start = tf.clip_by_value(tf.cast(at, tf.int32), 0, tf.strings.length(encoded))
    found = tf.io.decode_raw(tf.strings.substr(encoded, start, size), tf.uint8)
    return read_number(tf.cast(found, tf.int64), 0, size, tf.constant(True))
