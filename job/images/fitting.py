"""Images of any size to squares of one size.

The resize is bilinear with antialias. Its result stays float32 and is never rounded to levels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from job.images.decoding import decode
from job.images.formats import FORMATS
from job.settings import ImageFit

Tensor = Any

FITS: tuple[ImageFit, ...] = ("letterbox", "crop", "squash")

# The colour of margins, as a level.
WHITE = 255.0


def prepare(encoded: Tensor, size: int, fit: ImageFit, formats: Sequence[str] = FORMATS) -> Tensor:
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
        formats: as `decode` takes them.

    Returns:
        float32 [size, size, 3], RGB, 0 to 255.
    """
    if fit not in FITS:
        expected = ", ".join(map(repr, FITS))
        raise ValueError(f"Received: fit={fit!r}. Expected: {expected}.")
    image = decode(encoded, formats)
    if fit == "letterbox":
        fitted = _fit_letterbox(image, size)
    else:
        if fit == "crop":
            image = _crop_to_square(image)
        fitted = _resize_image(image, [size, size])
    return tf.ensure_shape(fitted, [size, size, 3])


def prepare_batch(encoded: Tensor, size: int, fit: ImageFit) -> Tensor:
    """Prepare each of many images (or of none): string [n] -> float32 [n, size, size, 3]."""
    signature = tf.TensorSpec([size, size, 3], tf.float32)
    return tf.map_fn(lambda one: prepare(one, size, fit), encoded, fn_output_signature=signature)


def prepare_few(encoded: Sequence[bytes], size: int, fit: ImageFit) -> NDArray[np.float32]:
    """Prepare some files without a graph: float32 [n, size, size, 3], the bytes of `prepare`.

    The graph of the decoder takes seconds to trace and to optimize. That pays from some hundred
    images on.
    """
    prepared = np.empty((len(encoded), size, size, 3), np.float32)
    # Where `tf.data` decodes too. A GPU would round differently.
    with tf.device("CPU:0"):
        for number, one in enumerate(encoded):
            prepared[number] = prepare(tf.constant(one), size, fit).numpy()
    return prepared


def _resize_image(image: Tensor, sides: Any) -> Tensor:
    resized = tf.image.resize(image, sides, "bilinear", antialias=True)
    # An image that has the size already comes back as it is, in integers.
    return tf.cast(resized, tf.float32)


def _fit_letterbox(image: Tensor, size: int) -> Tensor:
    sides = tf.shape(image, tf.int64)[:2]
    longest = tf.reduce_max(sides)
    # Integers alone, so the rounding is exact.
    rounded = (2 * sides * size + longest) // (2 * longest)
    scaled = tf.cast(tf.maximum(rounded, 1), tf.int32)
    before = (size - scaled) // 2
    # Shape [2, 2]: top and bottom, then left and right.
    after = size - scaled - before
    margins = tf.stack([before, after], axis=1)
    resized = _resize_image(image, scaled)
    # The channels have no margin.
    margins = tf.concat([margins, [[0, 0]]], axis=0)
    return tf.pad(resized, margins, constant_values=WHITE)


def _crop_to_square(image: Tensor) -> Tensor:
    sides = tf.shape(image)[:2]
    side = tf.reduce_min(sides)
    top, left = tf.unstack((sides - side) // 2)
    return image[top : top + side, left : left + side]
