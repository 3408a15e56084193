"""Splits -> tf.data. What a step sees depends on (seed, epoch, step, worker): a restart continues with the same pixels.

Every batch has one fixed size, since the same image in a batch of another size gives other bytes.
The last batch is filled up with images of weight 0, and so is every batch that the devices could
not share evenly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from job import images
from job.audit import Example, Splits
from job.images.fitting import WHITE
from job.settings import ImageFit, TrainingSettings

EVALUATION_BATCH = 32
# One number per random op, so that no two ops share a stream.
FLIP, PLACE, BRIGHTNESS, CONTRAST, SATURATION = range(5)


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of every global batch a worker takes: the `index`-th of `workers`, cut for its `devices`."""

    index: int = 0
    workers: int = 1
    devices: int = 1

    def of(self, batches: np.ndarray) -> np.ndarray:
        """Global batches [steps, size, ...] -> this worker's [steps * devices, size / all devices, ...], in order."""
        each = batches.shape[1] // (self.workers * self.devices)
        own = batches[:, self.index * self.devices * each : (self.index + 1) * self.devices * each]
        return own.reshape(-1, each, *batches.shape[2:])


WHOLE = Shard()


@dataclass(frozen=True, slots=True)
class Feed:
    """The images of a run as batches.

    Shapes: images float32 [batch, size, size, 3] in 0..255; targets float32 [batch, classes];
    weights float32 [batch], which sum to 1 over the real images of a batch, so that a loss is
    `sum(weights * losses)` on any number of devices.
    """

    splits: Splits
    image_size: int
    image_fit: ImageFit
    batch_size: int
    seed: int
    augmentation: str
    label_smoothing: float
    class_weights: str

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return -(-len(self.splits.train) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of the training images in an epoch: int64 [n]."""
        return np.random.Generator(np.random.Philox(key=self.seed, counter=epoch)).permutation(
            len(self.splits.train)
        )

    def train(
        self, epoch: int, start: int = 0, features: np.ndarray | None = None, share: Shard = WHOLE
    ) -> tf.data.Dataset:
        """Batches (inputs, targets, weights) from step `start` of an epoch on: one for each device of the share.

        `features` [n, ...], in the order of `splits.train`, takes the place of the images: the
        frozen part run once.
        """
        places, real = self._places(start, share.workers * share.devices)
        rows = padded(self.order(epoch), self.batch_size)[places]
        labels = label_array(self.splits.train)
        weights = self._normalised(self.importance(labels)[rows] * real)
        rows, places, weights = (share.of(table) for table in (rows, places, weights))
        rest = tf.data.Dataset.from_tensor_slices((self.targets(labels)[rows], weights))
        inputs = (
            self._images(rows, places, epoch)
            if features is None
            else self._features(rows, features)
        )
        return tf.data.Dataset.zip((inputs, rest)).map(lambda rows, pair: (rows, *pair)).prefetch(2)

    def plain(self, examples: Sequence[Example]) -> tf.data.Dataset:
        """Batches of `EVALUATION_BATCH` images as they are; the last one repeats its last image until it is full."""
        paths = padded(np.array([str(example.path) for example in examples], str), EVALUATION_BATCH)
        return (
            tf.data.Dataset.from_tensor_slices(paths)
            .map(self._pixels, **_PARALLEL)
            .batch(EVALUATION_BATCH, drop_remainder=True)
            .prefetch(2)
        )

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Labels int [n] -> targets float32 [n, classes], smoothed."""
        hard = np.eye(len(self.splits.classes), dtype=np.float32)[labels]
        return hard * (1 - self.label_smoothing) + np.float32(self.label_smoothing / hard.shape[1])

    def importance(self, labels: np.ndarray) -> np.ndarray:
        """The weight of each training image by its class: float32 [n], 1 on average."""
        if self.class_weights == "none":
            return np.ones(len(labels), np.float32)
        counts = np.bincount(labels, minlength=len(self.splits.classes))
        return (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(np.float32)

    def _places(self, start: int, devices: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each image of each step lies in the epoch [steps, size], and whether it counts there."""
        columns = np.arange(-(-self.batch_size // devices) * devices)
        places = np.arange(start, self.steps)[:, None] * self.batch_size + np.minimum(
            columns, self.batch_size - 1
        )
        return places, (columns < self.batch_size) & (places < len(self.splits.train))

    def _normalised(self, weights: np.ndarray) -> np.ndarray:
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def _images(self, rows: np.ndarray, places: np.ndarray, epoch: int) -> tf.data.Dataset:
        paths = np.array([str(example.path) for example in self.splits.train])
        pairs = tf.data.Dataset.from_tensor_slices((paths[rows.ravel()], places.ravel()))
        pixels = pairs.map(lambda path, place: self._augmented(path, epoch, place), **_PARALLEL)
        return pixels.batch(rows.shape[1], drop_remainder=True)

    def _features(self, rows: np.ndarray, features: np.ndarray) -> tf.data.Dataset:
        """A memory map is read step by step, never whole."""
        shape = (rows.shape[1], *features.shape[1:])

        def look_up(step: tf.Tensor) -> tf.Tensor:
            values = tf.numpy_function(
                lambda index: np.asarray(features[index]), [step], features.dtype, stateful=False
            )
            return tf.ensure_shape(values, shape)

        return tf.data.Dataset.from_tensor_slices(rows).map(look_up, **_PARALLEL)

    def _pixels(self, path: tf.Tensor) -> tf.Tensor:
        return _read(path, self.image_size, self.image_fit)

    def _augmented(self, path: tf.Tensor, epoch: int, place: tf.Tensor) -> tf.Tensor:
        pixels = self._pixels(path)
        if self.augmentation == "none":
            return pixels
        total = self.steps * self.batch_size
        return augment(
            pixels,
            tf.stack([tf.constant(self.seed, tf.int64), epoch * total + tf.cast(place, tf.int64)]),
        )


_PARALLEL: dict[str, Any] = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def feed(
    splits: Splits, image_size: int, image_fit: ImageFit, training: TrainingSettings, seed: int
) -> Feed:
    """The feed of a run from its splits and its `training` settings."""
    return Feed(
        splits,
        image_size,
        image_fit,
        training.batch_size,
        seed,
        training.augmentation,
        training.label_smoothing,
        training.class_weights,
    )


def label_array(examples: Sequence[Example]) -> np.ndarray:
    """The labels of examples: int64 [n]."""
    return np.array([example.label for example in examples], np.int64)


@tf.function(
    autograph=False
)  # traced once: the decoder is large, and left to tf.data every epoch would trace it again
def _read(path: tf.Tensor, size: int, fit: ImageFit) -> tf.Tensor:
    return images.prepare(tf.io.read_file(path), size, fit)


def padded(rows: np.ndarray, multiple: int) -> np.ndarray:
    """Rows [n, ...] with the last one repeated until their number is a multiple."""
    missing = -len(rows) % multiple
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


@tf.function(autograph=False)  # traced once, like the decoder
def augment(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Flip, shift and zoom by a tenth, recolour a little; deterministic in `seed`.

    Args:
        pixels: float32 [size, size, 3] in 0..255.
        seed: int64 [2].
    """

    def uniform(op: int, low: float, high: float, shape: tuple[int, ...] = ()) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, tf.random.fold_in(seed, op), low, high)

    pixels = tf.where(uniform(FLIP, 0, 1) < 0.5, tf.reverse(pixels, [1]), pixels)
    zoom, down, right = tf.unstack(uniform(PLACE, -0.1, 0.1, (3,)))
    box = tf.stack([down - zoom / 2, right - zoom / 2, 1 + down + zoom / 2, 1 + right + zoom / 2])
    pixels = tf.image.crop_and_resize(
        pixels[None], box[None], [0], tf.shape(pixels)[:2], extrapolation_value=WHITE
    )[0]
    pixels = pixels * uniform(BRIGHTNESS, 0.9, 1.1)
    # Around mid-grey: the mean that adjust_contrast takes is a sum whose last bits vary with the
    # threads.
    pixels = (pixels - WHITE / 2) * uniform(CONTRAST, 0.9, 1.1) + WHITE / 2
    grey = tf.image.rgb_to_grayscale(pixels)
    pixels = grey + (pixels - grey) * uniform(SATURATION, 0.8, 1.2)
    return tf.clip_by_value(pixels, 0.0, WHITE)
