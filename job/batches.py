"""Splits -> tf.data. What a step sees depends on (seed, epoch, step, worker) alone.

So a restarted run continues with the same pixels.

Every batch has one fixed size, since the same image in a batch of another size gives other bytes.
The last batch is filled up with images of weight 0, and so is every batch that the devices cannot
divide evenly.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from job import images
from job.audit import Example, Splits
from job.images.augmentation import augment, seed_view, shorten_digest
from job.settings import ImageFit, TrainingSettings
from job.workers import WHOLE, Shard

EVALUATION_BATCH = 32
# In parallel, but in order: another order would be another training.
PARALLEL_MAP: dict[str, Any] = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
BATCHES_AHEAD = 2
# Up to so many images are loaded without a graph. An image then takes some 10 ms more of one core,
# and a pass over a data set some 2 s, in which TensorFlow optimizes the decoder's graph.
FEW_IMAGES = 64
# More steps than any training has.
ENDLESS = 2**62
# Of the devices of one worker: rows and sights int64 [devices, size], targets float32
# [devices, size, classes], weights float32 [devices, size].
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Rows(Protocol):
    """One row for each image [n, ...]: an array, or something that is read from the disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, places: Any, /) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The images of a run as batches.

    Shapes: images float32 [batch, size, size, 3] in 0..255; targets float32 [batch, classes];
    weights float32 [batch], which sum to 1 over the real images of a batch, so that a loss is
    `sum(weights * losses)` on any number of devices.

    `views` is how many augmented views of each training image are seen in turn. 0: each epoch sees
    new ones.
    """

    splits: Splits
    image_size: int
    image_fit: ImageFit
    batch_size: int
    seed: int
    augmentation: str
    label_smoothing: float
    class_weights: str
    views: int = 0

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        # Rounded up: the last batch may be partly filled.
        return -(-len(self.splits.train) // self.batch_size)

    def shuffle(self, epoch: int) -> np.ndarray:
        """Draw the permutation of the training images in an epoch: int64 [n]."""
        # The epoch is the counter and not a part of the key: a resumed run need not replay the
        # epochs before it.
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=epoch))
        return generator.permutation(len(self.splits.train))

    def load_epochs(
        self,
        epoch: int,
        start: int = 0,
        features: Rows | None = None,
        shard: Shard = WHOLE,
    ) -> tf.data.Dataset:
        """Batches (inputs, targets, weights) of an epoch and of all that follow: there is no end.

        Each new pass over a data set costs a third of a second on one core, because TensorFlow
        optimizes the decoder's graph again. So a training makes one pass over all of its epochs.

        Args:
            epoch: from 0.
            start: the first step to load.
            features: [n, ...] in the order of `splits.train`: activations of the frozen part, which
                take the place of the images. Those of views are [views * n, ...], one view of all
                images after the other.
            shard: the rows of each batch that this worker takes. Each of its devices gets a batch.
        """
        devices = shard.workers * shard.devices
        size = -(-self.batch_size // devices)
        own_shape = (shard.devices, size)
        target_shape = (*own_shape, len(self.splits.classes))
        shapes = (own_shape, own_shape, target_shape, own_shape)
        # The epoch before is still read while the first steps of the next one are planned.
        labels = collect_labels(self.splits.train)
        plan_epoch = functools.lru_cache(maxsize=2)(lambda epoch: self._plan_epoch(epoch, shard))

        def plan_step(number: np.ndarray) -> Step:
            rows, sights, weights = plan_epoch(int(number) // self.steps)
            first_row = number % self.steps * shard.devices
            own = slice(first_row, first_row + shard.devices)
            targets = self.smooth_labels(labels[rows[own]])
            return rows[own], sights[own], targets, weights[own]

        def call_plan(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dtypes = (tf.int64, tf.int64, tf.float32, tf.float32)
            # Not a generator: with deterministic operations, one that has a state makes TensorFlow
            # load the images one after another.
            found = tf.numpy_function(plan_step, [number], dtypes, stateful=False)
            return tuple(map(tf.ensure_shape, found, shapes))

        first = epoch * self.steps + start
        steps = tf.data.Dataset.range(first, ENDLESS).map(call_plan).unbatch()
        numbers = steps.map(lambda rows, sights, *_: (rows, sights))
        answers = steps.map(lambda *arrays: arrays[2:])
        if features is None:
            inputs = self._load_training_images(numbers, size)
        else:
            inputs = _load_features(numbers, size, features, len(labels))

        pairs = tf.data.Dataset.zip((inputs, answers))
        batches = pairs.map(lambda batch, answer: (batch, *answer))
        return batches.prefetch(BATCHES_AHEAD)

    def load_images(self, examples: Sequence[Example]) -> Iterable[tf.Tensor]:
        """Batches of `EVALUATION_BATCH` images as they are: float32 [batch, size, size, 3].

        The last batch repeats its last image until it is full. `FEW_IMAGES` and fewer are loaded
        one by one, with the same bytes.
        """
        if len(examples) <= FEW_IMAGES:
            return self._load_few_images(examples)
        paths = np.array([str(example.path) for example in examples], str)
        padded = pad_rows(paths, EVALUATION_BATCH)

        def read_plain(path: tf.Tensor) -> tf.Tensor:
            return _read_image(path, self.image_size, self.image_fit)

        files = tf.data.Dataset.from_tensor_slices(padded)
        pixels = files.map(read_plain, **PARALLEL_MAP)
        batches = pixels.batch(EVALUATION_BATCH, drop_remainder=True)
        return batches.prefetch(BATCHES_AHEAD)

    def load_views(self, places: Sequence[int]) -> tf.data.Dataset:
        """Batches of `EVALUATION_BATCH` augmented training images, as training sees them.

        Args:
            places: of each, the number of the view times that of all training images, plus its row.
                The last batch repeats the last one until it is full.
        """
        padded = pad_rows(np.array(places, np.int64), EVALUATION_BATCH)
        views, rows = np.divmod(padded, len(self.splits.train))
        numbers = tf.data.Dataset.from_tensor_slices((rows, views)).batch(EVALUATION_BATCH)
        return self._load_training_images(numbers, EVALUATION_BATCH).prefetch(BATCHES_AHEAD)

    def _load_few_images(self, examples: Sequence[Example]) -> Iterator[tf.Tensor]:
        for first in range(0, len(examples), EVALUATION_BATCH):
            chosen = examples[first : first + EVALUATION_BATCH]
            # Read as in a graph, with the same errors.
            encoded = [tf.io.read_file(str(example.path)).numpy() for example in chosen]
            pixels = images.prepare_few(encoded, self.image_size, self.image_fit)
            yield tf.constant(pad_rows(pixels, EVALUATION_BATCH))

    def smooth_labels(self, labels: np.ndarray) -> np.ndarray:
        """Labels int [n] -> targets float32 [n, classes], smoothed."""
        classes = len(self.splits.classes)
        hard = np.eye(classes, dtype=np.float32)[labels]
        share = np.float32(self.label_smoothing / classes)
        return hard * (1 - self.label_smoothing) + share

    def weigh_labels(self, labels: np.ndarray) -> np.ndarray:
        """Weigh each training image by its class: float32 [n], 1 on average."""
        if self.class_weights == "none":
            return np.ones(len(labels), np.float32)
        counts = np.bincount(labels, minlength=len(self.splits.classes))
        # Each class that has images gets the same weight in total.
        classes = np.count_nonzero(counts)
        weights = len(labels) / (classes * counts[labels])
        return weights.astype(np.float32)

    def _place_images(self, devices: int) -> tuple[np.ndarray, np.ndarray]:
        """Lay out the steps of an epoch in batches that `devices` can divide.

        Returns:
            (places, real), both [steps, size]: the position of each image in the epoch, and whether
            it counts there.
        """
        padded_size = -(-self.batch_size // devices) * devices
        columns = np.arange(padded_size)
        steps = np.arange(self.steps)
        first_places = steps[:, None] * self.batch_size
        # The columns that only fill up a batch repeat its last image.
        places = first_places + np.minimum(columns, self.batch_size - 1)
        is_in_batch = columns < self.batch_size
        is_in_epoch = places < len(self.splits.train)
        return places, is_in_batch & is_in_epoch

    def _plan_epoch(self, epoch: int, shard: Shard) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What each device of a shard takes in the steps of an epoch.

        Returns:
            (rows, sights, weights), each [steps * devices, size]: the rows of images, the number of
            each sight among those of all epochs, or that of its view, and the weight of each image.
        """
        places, real = self._place_images(shard.workers * shard.devices)
        order = pad_rows(self.shuffle(epoch), self.batch_size)
        rows = order[places]

        labels = collect_labels(self.splits.train)
        weights = self.weigh_labels(labels)[rows] * real
        # Over the whole batch, so before it is divided among the workers.
        weights = weights / weights.sum(axis=1, keepdims=True)
        weights = weights.astype(np.float32)
        if self.views:
            sights = np.full_like(places, epoch % self.views)
        else:
            # Every sight looks different.
            sights = epoch * self.steps * self.batch_size + places
        return shard.take(rows), shard.take(sights), shard.take(weights)

    def _load_training_images(self, numbers: tf.data.Dataset, size: int) -> tf.data.Dataset:
        """Batches of `size` images, by the rows and the sights of each batch."""
        paths = tf.constant([str(example.path) for example in self.splits.train])
        if self.views:
            digests = [shorten_digest(example.sha256) for example in self.splits.train]
            contents = tf.constant(digests, tf.int64)

        def read_augmented(row: tf.Tensor, sight: tf.Tensor) -> tf.Tensor:
            pixels = _read_image(tf.gather(paths, row), self.image_size, self.image_fit)
            if self.augmentation == "none":
                return pixels
            seed = tf.constant(self.seed, tf.int64)
            if self.views:
                return augment(pixels, seed_view(seed, tf.gather(contents, row), sight))
            return augment(pixels, tf.stack([seed, sight]))

        pixels = numbers.unbatch().map(read_augmented, **PARALLEL_MAP)
        return pixels.batch(size, drop_remainder=True)


def build_feed(
    splits: Splits,
    image_size: int,
    image_fit: ImageFit,
    training: TrainingSettings,
    seed: int,
) -> Feed:
    """Build the feed of a run from its splits and its `training` settings."""
    # Without augmentation all views are one, and no epoch sees a view after the last epoch's.
    views = 0 if training.augmentation == "none" else min(training.views, training.epochs)
    return Feed(
        splits=splits,
        image_size=image_size,
        image_fit=image_fit,
        batch_size=training.batch_size,
        seed=seed,
        augmentation=training.augmentation,
        label_smoothing=training.label_smoothing,
        class_weights=training.class_weights,
        views=views,
    )


def collect_labels(examples: Sequence[Example]) -> np.ndarray:
    """The labels of examples: int64 [n]."""
    labels = [example.label for example in examples]
    return np.array(labels, np.int64)


def pad_rows(rows: np.ndarray, multiple: int) -> np.ndarray:
    """Repeat the last of rows [n, ...] until their number is a multiple."""
    missing = -len(rows) % multiple
    last = rows[-1:]
    padding = np.repeat(last, missing, axis=0)
    return np.concatenate([rows, padding])


# A function of its own is traced once. The decoder is large, and tf.data would trace it again in
# every epoch.
@tf.function(autograph=False)
def _read_image(path: tf.Tensor, size: int, fit: ImageFit) -> tf.Tensor:
    encoded = tf.io.read_file(path)
    return images.prepare(encoded, size, fit)


def _load_features(
    numbers: tf.data.Dataset, size: int, features: Rows, images: int
) -> tf.data.Dataset:
    """Batches of `size` features, by the rows and the sights of each batch."""
    shape = (size, *features.shape[1:])
    # 1 for images as they are, which look the same at every sight.
    views = features.shape[0] // images

    def read_rows(places: np.ndarray) -> np.ndarray:
        # Features may be on the disk: they are read step by step, never whole.
        return np.asarray(features[places])

    def look_up(rows: tf.Tensor, sights: tf.Tensor) -> tf.Tensor:
        places = sights % views * images + rows
        values = tf.numpy_function(read_rows, [places], features.dtype, stateful=False)
        # What comes from NumPy has no shape, which the network needs.
        return tf.ensure_shape(values, shape)

    return numbers.map(look_up, **PARALLEL_MAP)
