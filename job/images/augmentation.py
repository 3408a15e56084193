"""Random changes of the images that training sees.

They are drawn by NumPy, as the box and the colours of each image. So TensorFlow has only linear
operations left to do on whole batches.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from job.images.fitting import WHITE

# What is drawn for each sight of an image: flip, zoom, shifts down and to the right, brightness,
# contrast, saturation.
DRAWS = 7
# What says how an image is changed: a box (4), a matrix (3 x 3) and an offset for its colours.
CHANGES = 4 + 9 + 1
# What grey takes of red, green and blue, as in `tf.image.rgb_to_grayscale`.
LUMA = np.array([0.2989, 0.587, 0.114], np.float32)
MID_GREY = WHITE / 2


def draw_changes(entropy: list[int], count: int) -> np.ndarray:
    """Draw the changes of so many sights: float32 [count, CHANGES], for `augment`.

    Args:
        entropy: numbers from 0. Other numbers give changes that have nothing to do with these.
        count: of the sights.
    """
    draws = np.random.default_rng(entropy).random((count, DRAWS), np.float32)
    return _describe_changes(draws)


def draw_views(seed: int, digests: Iterable[str], view: int) -> np.ndarray:
    """Draw the changes of one view of images: float32 [n, CHANGES], for `augment`.

    A view depends on the content of the image and not on its row: it stays the same when other
    images come or go.

    Args:
        seed: of the run.
        digests: the SHA-256 of the images, in hexadecimal digits.
        view: its number.
    """
    draws = []
    for sha256 in digests:
        generator = np.random.default_rng([seed, int(sha256, 16), view])
        draws.append(generator.random(DRAWS, np.float32))
    return _describe_changes(np.array(draws))


# A function of its own is traced once. tf.data would trace it again for every data set.
@tf.function(autograph=False)
def augment(pixels: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Flip, shift and zoom by a tenth, recolour a little.

    Args:
        pixels: uint8 or float32 [n, size, size, 3], 0 to 255.
        changes: float32 [n, CHANGES], as `draw_changes` gives them.

    Returns:
        float32 [n, size, size, 3], 0 to 255.
    """
    boxes, colours, offsets = tf.split(changes, [4, 9, 1], axis=1)
    count, size = tf.shape(pixels)[0], tf.shape(pixels)[1]
    moved = tf.image.crop_and_resize(
        pixels, boxes, tf.range(count), [size, size], extrapolation_value=WHITE
    )
    rows = tf.reshape(moved, [count, size * size, 3])
    recoloured = tf.matmul(rows, tf.reshape(colours, [count, 3, 3])) + offsets[:, None]
    clipped = tf.clip_by_value(recoloured, 0.0, WHITE)
    return tf.ensure_shape(tf.reshape(clipped, tf.shape(pixels)), pixels.shape)


def _describe_changes(draws: np.ndarray) -> np.ndarray:
    """Uniform numbers float32 [n, DRAWS] in [0, 1) -> float32 [n, CHANGES]."""
    flips, zooms, downs, rights = draws[:, 0], *(0.2 * draws[:, 1:4] - 0.1).T
    brightness, contrast, saturation = (draws[:, 4:] * [0.2, 0.2, 0.4] + [0.9, 0.9, 0.8]).T

    top, bottom = downs - zooms / 2, downs + 1 + zooms / 2
    left, right = rights - zooms / 2, rights + 1 + zooms / 2
    # The box of a mirrored image has its left edge on the right.
    is_flipped = flips < 0.5
    edges = np.where(is_flipped, right, left), np.where(is_flipped, left, right)
    boxes = np.stack([top, edges[0], bottom, edges[1]], axis=1)

    # Contrast is the distance from mid-grey. That from the mean of the image would need a sum whose
    # last bits vary with the threads. Saturation is the distance of a pixel from its own grey.
    own, shared = saturation[:, None, None], 1 - saturation[:, None, None]
    scale = (brightness * contrast)[:, None, None]
    colours = scale * (own * np.eye(3) + shared * LUMA[:, None])
    offsets = MID_GREY * (1 - contrast) * (saturation + (1 - saturation) * LUMA.sum())

    parts = [boxes, colours.reshape(-1, 9), offsets[:, None]]
    return np.concatenate(parts, axis=1).astype(np.float32)
