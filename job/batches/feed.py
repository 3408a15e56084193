"""Splits -> tf.data. What a step sees depends on (seed, epoch, step, worker) alone.

So a restarted run continues with the same pixels.

Every batch has one fixed size, since the same image in a batch of another size gives other bytes.
The last batch is filled up with images of weight 0, and so is every batch that the devices cannot
divide evenly.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from job import images
from job.audit import Example, Splits
from job.batches.loading import PARALLEL_MAP, Rows, convert_pixels, look_up_rows, make_reader
from job.images.augmentation import CHANGES, augment, draw_changes, draw_views
from job.settings import ImageFit, TrainingSettings
from job.workers import WHOLE, Shard

EVALUATION_BATCH = 32
BATCHES_AHEAD = 2
# Up to so many images are loaded without a graph. An image then takes some 10 ms more of one core,
# and a pass over a data set some 2 s, in which TensorFlow optimizes the decoder's graph.
FEW_IMAGES = 64
# More steps than any training has.
ENDLESS = 2**62
# What an epoch draws. Each is the last of three numbers that seed a generator, after the seed of
# the run and the epoch.
ORDER, SIGHTS = 0, 1
# Of the devices of one worker: rows int64 [devices, size], changes float32 [devices, size,
# CHANGES], targets float32 [devices, size, classes], weights float32 [devices, size].
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


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

    @property
    def pixel_type(self) -> np.dtype[Any]:
        """Of the training images before they are augmented.

        Augmentation begins with whole levels, as image files have them. So the pixels that are kept
        take a quarter of the disk, and look like those that are not.
        """
        return np.dtype(np.float32 if self.augmentation == "none" else np.uint8)

    def shuffle(self, epoch: int) -> np.ndarray:
        """Draw the permutation of the training images in an epoch: int64 [n]."""
        # A generator for each epoch: a resumed run need not replay the epochs before it.
        generator = np.random.default_rng([self.seed, epoch, ORDER])
        return generator.permutation(len(self.splits.train))

    def load_epochs(
        self,
        epoch: int,
        start: int = 0,
        features: Rows | None = None,
        pixels: Rows | None = None,
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
            pixels: `pixel_type` [n, size, size, 3] in the same order: the images, decoded before.
            shard: the rows of each batch that this worker takes. Each of its devices gets a batch.
        """
        devices = shard.workers * shard.devices
        size = -(-self.batch_size // devices)
        own_shape = (shard.devices, size)
        target_shape = (*own_shape, len(self.splits.classes))
        shapes = (own_shape, (*own_shape, CHANGES), target_shape, own_shape)
        labels = collect_labels(self.splits.train)
        views = 1 if features is None else features.shape[0] // len(labels)
        is_changed = features is None and self.augmentation != "none"
        # The epoch before is still read while the first steps of the next one are planned.
        plan_epoch = functools.lru_cache(maxsize=2)(
            lambda epoch: self._plan_epoch(epoch, shard, is_changed)
        )

        def plan_step(number: np.ndarray) -> Step:
            epoch, step = divmod(int(number), self.steps)
            rows, changes, weights = plan_epoch(epoch)
            own = slice(step * shard.devices, (step + 1) * shard.devices)
            targets = self.smooth_labels(labels[rows[own]])
            places = epoch % views * len(labels) + rows[own]
            return places, changes[own], targets, weights[own]

        def call_plan(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dtypes = (tf.int64, tf.float32, tf.float32, tf.float32)
            # Not a generator: with deterministic operations, one that has a state makes TensorFlow
            # load the images one after another.
            found = tf.numpy_function(plan_step, [number], dtypes, stateful=False)
            return tuple(map(tf.ensure_shape, found, shapes))

        first = epoch * self.steps + start
        steps = tf.data.Dataset.range(first, ENDLESS).map(call_plan).unbatch()
        sights = steps.map(lambda places, changes, *_: (places, changes))
        answers = steps.map(lambda *arrays: arrays[2:])
        if features is None:
            inputs = self._load_training_images(sights, size, pixels)
        else:
            inputs = look_up_rows(sights.map(lambda places, _: places), size, features)

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
        read_file = make_reader(examples, self.image_size, self.image_fit)
        files = tf.data.Dataset.from_tensor_slices(padded)
        pixels = files.map(read_file, **PARALLEL_MAP)
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
        changes = np.empty((len(padded), CHANGES), np.float32)
        for view in np.unique(views):
            digests = [self.splits.train[row].sha256 for row in rows[views == view]]
            changes[views == view] = draw_views(self.seed, digests, view)
        sights = tf.data.Dataset.from_tensor_slices((rows, changes)).batch(EVALUATION_BATCH)
        return self._load_training_images(sights, EVALUATION_BATCH).prefetch(BATCHES_AHEAD)

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

    def _plan_epoch(
        self, epoch: int, shard: Shard, is_changed: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What each device of a shard takes in the steps of an epoch.

        Args:
            epoch: from 0.
            shard: the rows of each batch that this worker takes.
            is_changed: whether the changes are seen. Otherwise they are zeros, which take no time.

        Returns:
            (rows, changes, weights), [steps * devices, size] and [steps * devices, size, CHANGES]:
            the rows of images, how each image is changed, and the weight of each image.
        """
        places, real = self._place_images(shard.workers * shard.devices)
        order = pad_rows(self.shuffle(epoch), self.batch_size)
        rows = order[places]

        labels = collect_labels(self.splits.train)
        weights = self.weigh_labels(labels)[rows] * real
        # Over the whole batch, so before it is divided among the workers.
        weights = weights / weights.sum(axis=1, keepdims=True)
        weights = weights.astype(np.float32)
        if not is_changed:
            changes = np.zeros((*rows.shape, CHANGES), np.float32)
        elif self.views:
            digests = [example.sha256 for example in self.splits.train]
            changes = draw_views(self.seed, digests, epoch % self.views)[rows]
        else:
            # Every sight looks different.
            changes = draw_changes([self.seed, epoch, SIGHTS], self.steps * self.batch_size)[places]
        return shard.take(rows), shard.take(changes), shard.take(weights)

    def _load_training_images(
        self, sights: tf.data.Dataset, size: int, pixels: Rows | None = None
    ) -> tf.data.Dataset:
        """Batches of `size` images, by the rows and the changes of each batch."""
        rows = sights.map(lambda rows, _: rows)
        if pixels is None:
            paths = tf.constant([str(example.path) for example in self.splits.train])
            read_file = make_reader(self.splits.train, self.image_size, self.image_fit)

            def read_row(row: tf.Tensor) -> tf.Tensor:
                return convert_pixels(read_file(tf.gather(paths, row)), self.pixel_type)

            loaded = rows.unbatch().map(read_row, **PARALLEL_MAP).batch(size, drop_remainder=True)
        else:
            loaded = look_up_rows(rows, size, pixels)
        if self.augmentation == "none":
            return loaded
        changes = sights.map(lambda _, changes: changes)
        return tf.data.Dataset.zip((loaded, changes)).map(augment, **PARALLEL_MAP)


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
