"""What enters the network of a stage: images, or activations that are kept."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, Rows, pad_rows
from job.features import FrozenNetwork
from job.training.context import TrainingContext
from job.training.network import StageNetwork
from job.workers import Shard

PLAIN = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Training and validation images.

    Attributes:
        feed: the images.
        shard: what this worker takes of them.
        train: `feed.pixel_type` [n, size, size, 3]: the training images, decoded. None: they are
            decoded in every epoch.
        val: float32 [n, size, size, 3]: the validation images. None: they are decoded each time.
    """

    feed: Feed
    shard: Shard
    train: Rows | None = None
    val: Rows | None = None

    def load_epochs(self, epoch: int, start: int) -> tf.data.Dataset:
        """Training batches from a step of an epoch on, without an end.

        There is one for each device of this worker.
        """
        return self.feed.load_epochs(epoch, start, pixels=self.train, shard=self.shard)

    def load_validation(self, numbers: range) -> Iterable[tf.Tensor | np.ndarray]:
        """Some of the batches that the validation images are divided into, by number."""
        if self.val is not None:
            return _read_batches(self.val, numbers)
        chosen: list[Example] = []
        for number in numbers:
            first = number * EVALUATION_BATCH
            last = first + EVALUATION_BATCH
            chosen.extend(self.feed.splits.val[first:last])
        return self.feed.load_images(chosen)


@dataclass(frozen=True, slots=True)
class KeptInputs:
    """Activations of all training and validation images, in the place of the images.

    Attributes:
        feed: the images.
        shard: what this worker takes of them.
        train: [n, ...], or those of all views, [views * n, ...].
        val: [n, ...]
    """

    feed: Feed
    shard: Shard
    train: Rows
    val: Rows

    def load_epochs(self, epoch: int, start: int) -> tf.data.Dataset:
        """As `ImageInputs.load_epochs`."""
        return self.feed.load_epochs(epoch, start, features=self.train, shard=self.shard)

    def load_validation(self, numbers: range) -> Iterator[np.ndarray]:
        """As `ImageInputs.load_validation`."""
        return _read_batches(self.val, numbers)


StageInputs = ImageInputs | KeptInputs


def load_inputs(network: StageNetwork, feed: Feed, context: TrainingContext) -> StageInputs:
    """Load what enters a network: activations where they are kept, else images."""
    if network.kept is not None:
        return keep_activations(network.kept, network.kept_views, feed, context)
    return keep_pixels(feed, context)


def imitate_inputs(network: StageNetwork, feed: Feed, context: TrainingContext) -> StageInputs:
    """The same to time steps: zeros in the place of kept activations, and no image is kept."""
    if network.kept is None:
        return ImageInputs(feed, _find_shard(context))
    # One number stands for all rows, which take no memory until a batch is copied.
    zero = np.zeros((), network.kept.dtype)
    train = np.broadcast_to(zero, (len(feed.splits.train), *network.kept.shape))
    return KeptInputs(feed=feed, shard=_find_shard(context), train=train, val=train)


def keep_pixels(feed: Feed, context: TrainingContext) -> ImageInputs:
    """Decode what will be seen again and fits into the cache. The other images are decoded live.

    What is seen does not depend on it.
    """
    inputs = ImageInputs(feed, _find_shard(context))
    cache, machine = context.cache, context.workers.fingerprint

    def keep(pixel_type: np.dtype[Any], examples: Sequence[Example]) -> Rows | None:
        if not cache.fits_pixels(pixel_type, machine, feed, len(examples)):
            return None
        return cache.load_pixels(pixel_type, machine, feed, examples, context.telemetry)

    # In an epoch a worker sees its part of the images. All of them are decoded to be kept.
    if context.settings.epochs > context.workers.count:
        inputs = replace(inputs, train=keep(feed.pixel_type, feed.splits.train))
    return replace(inputs, val=keep(PLAIN, feed.splits.val))


def keep_activations(
    network: FrozenNetwork, views: int, feed: Feed, context: TrainingContext
) -> KeptInputs:
    """Load the activations of a frozen network. Those that are not kept yet are computed here.

    Args:
        network: gives the activations.
        views: of each training image. 0: the image as it is.
        feed: the images.
        context: knows where they are kept.
    """
    train, val = feed.splits.train, feed.splits.val
    if views:
        train_rows = context.cache.load_views(network, feed, context.telemetry)
        val_rows = context.cache.load(network, feed, val, context.telemetry)
    else:
        rows = context.cache.load(network, feed, [*train, *val], context.telemetry)
        train_rows = rows.select(slice(len(train)))
        val_rows = rows.select(slice(len(train), None))
    return KeptInputs(feed=feed, shard=_find_shard(context), train=train_rows, val=val_rows)


def _read_batches(rows: Rows, numbers: range) -> Iterator[np.ndarray]:
    """Batches of `EVALUATION_BATCH` rows by number, from the disk into memory one at a time."""
    for number in numbers:
        first = number * EVALUATION_BATCH
        batch = np.asarray(rows[first : first + EVALUATION_BATCH])
        # Every batch has one size: another size would give other last bits.
        yield pad_rows(batch, EVALUATION_BATCH)


def _find_shard(context: TrainingContext) -> Shard:
    """The part of each batch that this worker takes."""
    workers = context.workers
    return Shard(
        index=workers.index,
        workers=workers.count,
        devices=len(workers.devices),
    )
