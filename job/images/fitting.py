"""Images of any size to squares of one size.

The resize is bilinear with antialias. Its result stays float32 and is never rounded to levels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from job.images.decoding import decode
from job.settings import ImageFit

Tensor = Any

# The colour of margins, as a level.
WHITE = 255.0


def prepare(encoded: Tensor, size: int, fit: ImageFit) -> Tensor:
    """Decode one image and fit it into a square.

    - `letterbox`: the whole image, its long side `size`, centred on white. The short side is
      rounded to the nearest pixel, halves up, and is at least 1. The odd pixel of a margin goes to
      the bottom or to the right.
    - `crop`: the centred square of the image, resized. Cropping first bounds the memory: a picture
      of 1 x 5,000 resized by its short side to 224 would be 1,120,000 wide.
    - `squash`: the whole image, its proportions given up.

    Args:
        encoded: string [], a file that `decode` takes.
        size: the side in pixels.
        fit: how.

    Returns:
        float32 [size, size, 3], RGB, 0 to 255.
    """
    if fit not in FITS:
        raise ValueError(f"Received: fit={fit!r}. Expected: {', '.join(map(repr, FITS))}.")
    fit_image = FITS[fit]
    return tf.ensure_shape(fit_image(decode(encoded), size), [size, size, 3])


def prepare_batch(encoded: Tensor, size: int, fit: ImageFit) -> Tensor:
    """Prepare each of many images (or of none): string [n] -> float32 [n, size, size, 3]."""
    signature = tf.TensorSpec([size, size, 3], tf.float32)
    return tf.map_fn(lambda one: prepare(one, size, fit), encoded, fn_output_signature=signature)


def _resize_image(image: Tensor, sides: Any) -> Tensor:
    return tf.cast(tf.image.resize(image, sides, "bilinear", antialias=True), tf.float32)


def _fit_letterbox(image: Tensor, size: int) -> Tensor:
    sides = tf.shape(image, tf.int64)[:2]
    longest = tf.reduce_max(sides)
    # Integers alone, so the rounding is exact.
    rounded = (2 * sides * size + longest) // (2 * longest)
    scaled = tf.cast(tf.maximum(rounded, 1), tf.int32)
    before = (size - scaled) // 2
    # Shape [2, 2]: top and bottom, then left and right.
    margins = tf.stack([before, size - scaled - before], axis=1)
    resized = _resize_image(image, scaled)
    return tf.pad(resized, tf.concat([margins, [[0, 0]]], axis=0), constant_values=WHITE)


def _fit_crop(image: Tensor, size: int) -> Tensor:
    sides = tf.shape(image)[:2]
    side = tf.reduce_min(sides)
    top, left = tf.unstack((sides - side) // 2)
    return _resize_image(image[top : top + side, left : left + side], [size, size])


def _fit_squash(image: Tensor, size: int) -> Tensor:
    return _resize_image(image, [size, size])


FITS: Mapping[ImageFit, Callable[[Tensor, int], Tensor]] = {
    "letterbox": _fit_letterbox,
    "crop": _fit_crop,
    "squash": _fit_squash,
}
