"""Random changes of the images that training sees, each a function of a seed."""

import tensorflow as tf

from job.images.fitting import WHITE

# One number per random op, so that no two ops share a stream.
FLIP, PLACE, BRIGHTNESS, CONTRAST, SATURATION = range(5)


# A function of its own is traced once. tf.data would trace it again for every data set.
@tf.function(autograph=False)
def augment(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Flip, shift and zoom by a tenth, recolour a little; deterministic in `seed`.

    Args:
        pixels: float32 [size, size, 3] in 0..255.
        seed: int64 [2].
    """

    def draw_uniform(op: int, low: float, high: float, shape: tuple[int, ...] = ()) -> tf.Tensor:
        op_seed = tf.random.fold_in(seed, op)
        return tf.random.stateless_uniform(shape, op_seed, low, high)

    is_flipped = draw_uniform(FLIP, 0, 1) < 0.5
    flipped = tf.reverse(pixels, [1])
    pixels = tf.where(is_flipped, flipped, pixels)

    zoom, down, right = tf.unstack(draw_uniform(PLACE, -0.1, 0.1, (3,)))
    # Differences, not sums of three terms: TensorFlow optimizes a small function only after some
    # dozens of calls, and then adds three terms in another order. The last bits of the pixels would
    # change in the middle of a run.
    low, high = zoom / 2, -1 - zoom / 2
    box = tf.stack([down - low, right - low, down - high, right - high])
    size = tf.shape(pixels)[:2]
    moved = tf.image.crop_and_resize(pixels[None], box[None], [0], size, extrapolation_value=WHITE)
    pixels = moved[0] * draw_uniform(BRIGHTNESS, 0.9, 1.1)

    # Around mid-grey: the mean that adjust_contrast takes is a sum whose last bits vary with the
    # threads.
    grey_level = WHITE / 2
    contrast = draw_uniform(CONTRAST, 0.9, 1.1)
    pixels = (pixels - grey_level) * contrast + grey_level

    grey = tf.image.rgb_to_grayscale(pixels)
    saturation = draw_uniform(SATURATION, 0.8, 1.2)
    pixels = grey + (pixels - grey) * saturation
    return tf.clip_by_value(pixels, 0.0, WHITE)


def shorten_digest(sha256: str) -> int:
    """A number for the content of an image, which fits into an int64."""
    return int(sha256[:15], 16)


def seed_view(seed: tf.Tensor, content: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
    """Derive the seed of one view of an image: int64 [2], for `augment`.

    Args:
        seed: of the run, int64.
        content: as `shorten_digest` gives it, int64. Not the row of the image: a view stays the
            same when other images come or go.
        view: its number, int64.
    """
    return tf.random.fold_in(tf.stack([seed, content]), view)
