"""What enters the network of a stage: images, or activations that are kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, Shard, pad_rows
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
            chosen.extend(self.feed.splits.val[first : first + EVALUATION_BATCH])
        return self.feed.load_images(chosen)


@dataclass(frozen=True, slots=True)
class KeptInputs:
    """Activations [n, ...] of all training and validation images, in the place of the images."""

    feed: Feed
    shard: Shard
    train: np.ndarray
    val: np.ndarray

    def load_epoch(self, epoch: int, start: int) -> tf.data.Dataset:
        """As `ImageInputs.load_epoch`."""
        return self.feed.load_epoch(epoch, start, self.train, self.shard)

    def load_validation(self, numbers: range) -> Iterator[np.ndarray]:
        """As `ImageInputs.load_validation`."""
        for number in numbers:
            first = number * EVALUATION_BATCH
            rows = np.asarray(self.val[first : first + EVALUATION_BATCH])
            yield pad_rows(rows, EVALUATION_BATCH)


StageInputs = ImageInputs | KeptInputs


def load_inputs(network: StageNetwork, feed: Feed, context: TrainingContext) -> StageInputs:
    """Load what enters a network: activations where they are kept, else images."""
    if network.kept is None:
        return ImageInputs(feed, find_shard(context))
    return keep_activations(network.kept, feed, context)


def keep_activations(network: FrozenNetwork, feed: Feed, context: TrainingContext) -> KeptInputs:
    """Load the activations of a frozen network. Those that are not kept yet are computed here."""
    train = context.cache.load(network, feed, feed.splits.train, context.telemetry)
    val = context.cache.load(network, feed, feed.splits.val, context.telemetry)
    return KeptInputs(feed, find_shard(context), train, val)


def find_shard(context: TrainingContext) -> Shard:
    """The part of each batch that this worker takes."""
    workers = context.workers
    return Shard(workers.index, workers.count, len(workers.devices))
