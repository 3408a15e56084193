"""Images of any size to squares of one size: bilinear with antialias, kept in float32, never rounded to levels."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from job.images.decoding import decode
from job.settings import ImageFit

Tensor = Any

WHITE = 255.0


def prepare(encoded: Tensor, size: int, fit: ImageFit) -> Tensor:
    """Decodes one image and fits it into a square.

    - `letterbox`: the whole image, its long side `size`, centred on white. The short side is
    rounded to the nearest
      pixel, halves up, and is at least 1; the odd pixel of a margin goes to the bottom or to the
      right.
    - `crop`: the centred square of the image, resized. (Cutting first bounds the memory: a picture
    of 1 x 5,000 resized
      by its short side to 224 would be 1,120,000 wide.)
    - `squash`: the whole image, its proportions given up.

    Args:
        encoded: string [], a file that `decode` takes.
        size: the side in pixels.
        fit: how.

    Returns:
        float32 [size, size, 3], RGB, 0 to 255.
    """
    if fit not in _FITS:
        raise ValueError(f"Received: fit={fit!r}. Expected: {', '.join(map(repr, _FITS))}.")
    return tf.ensure_shape(_FITS[fit](decode(encoded), size), [size, size, 3])


def batch(encoded: Tensor, size: int, fit: ImageFit) -> Tensor:
    """Prepares each of many (or of none): string [n] -> float32 [n, size, size, 3]."""
    signature = tf.TensorSpec([size, size, 3], tf.float32)
    return tf.map_fn(lambda one: prepare(one, size, fit), encoded, fn_output_signature=signature)


def _resize(image: Tensor, sides: Any) -> Tensor:
    return tf.cast(tf.image.resize(image, sides, "bilinear", antialias=True), tf.float32)


def _letterbox(image: Tensor, size: int) -> Tensor:
    sides = tf.shape(image, tf.int64)[:2]
    longest = tf.reduce_max(sides)
    scaled = tf.cast(
        tf.maximum((2 * sides * size + longest) // (2 * longest), 1), tf.int32
    )  # exact: no floats
    before = (size - scaled) // 2
    margins = tf.stack([before, size - scaled - before], axis=1)  # [[top, bottom], [left, right]]
    return tf.pad(
        _resize(image, scaled), tf.concat([margins, [[0, 0]]], axis=0), constant_values=WHITE
    )


def _crop(image: Tensor, size: int) -> Tensor:
    sides = tf.shape(image)[:2]
    side = tf.reduce_min(sides)
    top, left = tf.unstack((sides - side) // 2)
    return _resize(image[top : top + side, left : left + side], [size, size])


def _squash(image: Tensor, size: int) -> Tensor:
    return _resize(image, [size, size])


_FITS: Mapping[ImageFit, Callable[[Tensor, int], Tensor]] = {
    "letterbox": _letterbox,
    "crop": _crop,
    "squash": _squash,
}
