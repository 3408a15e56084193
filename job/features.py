"""The frozen part of a network runs once per image: its activations are kept on disk.

They are kept by the content of the image, in a folder that is named by what else decides them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed
from job.identity import digest, digest_code
from job.images import DECODER
from job.kept_rows import KeptRows, RowStore
from job.telemetry import Progressed, Telemetry, time_input

logger = logging.getLogger(__name__)

# A pass that is interrupted loses at most the images of one shard.
SHARD_IMAGES = 4096


@dataclass(frozen=True)
class FrozenNetwork:
    """A network whose activations are kept.

    Attributes:
        model: images float32 [batch, size, size, 3] -> activations [batch, ...].
        key: names what decides the activations besides the images: the weights, the place where the
            backbone is cut, the precision and the machine.
    """

    model: keras.Model
    key: str

    @cached_property
    def infer(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Images -> activations, as one graph that is traced once."""
        return tf.function(lambda pixels: self.model(pixels, training=False))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the activations."""
        return np.dtype(tf.as_dtype(self.model.output.dtype).as_numpy_dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the activations of one image."""
        return tuple(self.model.output.shape[1:])

    def count_bytes(self, images: int) -> int:
        """The size of the activations of so many images."""
        return images * int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Activations on this disk.

    Attributes:
        folder: where the arrays are kept.
        limit: bytes that one stage of the training may take there.
    """

    folder: Path
    limit: int

    def load(
        self,
        network: FrozenNetwork,
        feed: Feed,
        examples: Sequence[Example],
        telemetry: Telemetry,
    ) -> KeptRows:
        """Load the activations of a network. Those of new images are computed first.

        They are always computed in batches of one size, so that a resumed or nightly run reads the
        bytes that a cold one computes.

        Returns:
            one row for each of `examples`, of which there is at least one.

        Raises:
            SettingsError: the folder cannot be written, or the disk is full.
        """
        # Not the batch size, the seed or the augmentation: they do not change an activation.
        identity = [
            network.key,
            feed.image_size,
            feed.image_fit,
            [DECODER, tf.__version__, keras.__version__, digest_code()],
        ]
        kept = RowStore(self.folder / digest(identity), network.shape, network.dtype)
        images = [example.sha256 for example in examples]
        new = [examples[place] for place in kept.find_missing(images)]
        for first in range(0, len(new), SHARD_IMAGES):
            shard = new[first : first + SHARD_IMAGES]
            names = [example.sha256 for example in shard]
            batches = compute_activations(network, feed, shard, telemetry)
            for rows_done in kept.write_shard(names, batches):
                telemetry.emit(Progressed(first + rows_done, len(new), "images"))
        fields = {"images": len(examples), "computed": len(new)}
        logger.debug("features", extra={"fields": fields})
        return kept.open_rows(images)


def compute_activations(
    network: FrozenNetwork,
    feed: Feed,
    examples: Sequence[Example],
    telemetry: Telemetry,
) -> Iterator[np.ndarray]:
    """Run a network over images, batch by batch: [up to `EVALUATION_BATCH`, ...]."""
    left = len(examples)
    for pixels in time_input(feed.load_images(examples), telemetry):
        # The last batch is filled up with copies of its last image.
        yield network.infer(pixels).numpy()[:left]
        left -= EVALUATION_BATCH
