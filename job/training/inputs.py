"""What enters the network of a stage: images, or activations that are kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, Rows, pad_rows
from job.features import FrozenNetwork
from job.training.context import TrainingContext
from job.training.network import StageNetwork
from job.workers import Shard

# Validation images that fit into so much memory are decoded once. A new pass over images costs a
# third of a second, whatever their number, and the weights of an epoch are judged often.
MOST_DECODED_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Training images, decoded for every step, and validation images.

    Attributes:
        feed: the images.
        shard: what this worker takes of them.
        decoded: batches of validation images float32 [batch, size, size, 3] by number, where all
            of them fit into memory.
    """

    feed: Feed
    shard: Shard
    decoded: dict[int, tf.Tensor] = field(default_factory=dict)

    def load_epochs(self, epoch: int, start: int) -> tf.data.Dataset:
        """Training batches from a step of an epoch on, without an end.

        There is one for each device of this worker.
        """
        return self.feed.load_epochs(epoch, start, shard=self.shard)

    def load_validation(self, numbers: range) -> Iterable[tf.Tensor]:
        """Some of the batches that the validation images are divided into, by number."""
        if not self.decoded.keys() >= set(numbers):
            batches = self._decode_validation(numbers)
            side = self.feed.image_size
            size = len(numbers) * EVALUATION_BATCH * side * side * 3 * tf.float32.size
            if size > MOST_DECODED_BYTES:
                return batches
            self.decoded.update(zip(numbers, batches, strict=True))
        return [self.decoded[number] for number in numbers]

    def _decode_validation(self, numbers: range) -> tf.data.Dataset:
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
        return self.feed.load_epochs(epoch, start, self.train, self.shard)

    def load_validation(self, numbers: range) -> Iterator[np.ndarray]:
        """As `ImageInputs.load_validation`."""
        for number in numbers:
            first = number * EVALUATION_BATCH
            last = first + EVALUATION_BATCH
            # From the disk into memory, a batch at a time.
            rows = np.asarray(self.val[first:last])
            # Every batch has one size: another size would give other last bits.
            yield pad_rows(rows, EVALUATION_BATCH)


StageInputs = ImageInputs | KeptInputs


def load_inputs(network: StageNetwork, feed: Feed, context: TrainingContext) -> StageInputs:
    """Load what enters a network: activations where they are kept, else images."""
    if network.kept is None:
        return ImageInputs(feed, _find_shard(context))
    return keep_activations(network.kept, network.kept_views, feed, context)


def imitate_inputs(network: StageNetwork, feed: Feed, context: TrainingContext) -> StageInputs:
    """The same with zeros in the place of kept activations: to time steps, none is computed."""
    if network.kept is None:
        return load_inputs(network, feed, context)
    # One number stands for all rows, which take no memory until a batch is copied.
    zero = np.zeros((), network.kept.dtype)
    train = np.broadcast_to(zero, (len(feed.splits.train), *network.kept.shape))
    return KeptInputs(feed=feed, shard=_find_shard(context), train=train, val=train)


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


def _find_shard(context: TrainingContext) -> Shard:
    """The part of each batch that this worker takes."""
    workers = context.workers
    return Shard(
        index=workers.index,
        workers=workers.count,
        devices=len(workers.devices),
    )
