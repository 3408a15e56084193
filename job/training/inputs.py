"""What enters the network of a stage: images, or activations that are kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, Rows, Shard, pad_rows
from job.features import FrozenNetwork
from job.training.context import TrainingContext
from job.training.network import StageNetwork


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Images, decoded for every step. `shard` is what this worker takes of them."""

    feed: Feed
    shard: Shard

    def load_epoch(self, epoch: int, start: int) -> tf.data.Dataset:
        """Training batches from step `start` on, one for each device of this worker."""
        return self.feed.load_epoch(epoch, start, shard=self.shard)

    def load_validation(self, numbers: range) -> Iterable[tf.Tensor]:
        """Some of the batches that the validation images are divided into, by number."""
        chosen: list[Example] = []
        for number in numbers:
            first = number * EVALUATION_BATCH
            last = first + EVALUATION_BATCH
            chosen.extend(self.feed.splits.val[first:last])
        return self.feed.load_images(chosen)


@dataclass(frozen=True, slots=True)
class KeptInputs:
    """Activations [n, ...] of all training and validation images, in the place of the images."""

    feed: Feed
    shard: Shard
    train: Rows
    val: Rows

    def load_epoch(self, epoch: int, start: int) -> tf.data.Dataset:
        """As `ImageInputs.load_epoch`."""
        return self.feed.load_epoch(epoch, start, self.train, self.shard)

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
    return keep_activations(network.kept, feed, context)


def keep_activations(network: FrozenNetwork, feed: Feed, context: TrainingContext) -> KeptInputs:
    """Load the activations of a frozen network. Those that are not kept yet are computed here."""
    train, val = feed.splits.train, feed.splits.val
    rows = context.cache.load(network, feed, [*train, *val], context.telemetry)
    return KeptInputs(
        feed=feed,
        shard=_find_shard(context),
        train=rows.select(slice(len(train))),
        val=rows.select(slice(len(train), None)),
    )


def _find_shard(context: TrainingContext) -> Shard:
    """The part of each batch that this worker takes."""
    workers = context.workers
    return Shard(
        index=workers.index,
        workers=workers.count,
        devices=len(workers.devices),
    )
