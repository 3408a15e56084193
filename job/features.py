"""What is computed of images once, and kept on disk: activations of frozen networks, and pixels.

It is kept by the content of the image, in a folder that is named by what else decides it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, convert_pixels
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
    """Activations and pixels on this disk.

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
        store = self._open_store(network, _identify_activations(network, feed))
        images = [example.sha256 for example in examples]

        def compute(places: Sequence[int]) -> Iterator[np.ndarray]:
            chosen = [examples[place] for place in places]
            return compute_activations(network, feed, chosen, telemetry)

        return _complete_rows(store, images, compute, telemetry)

    def load_views(self, network: FrozenNetwork, feed: Feed, telemetry: Telemetry) -> KeptRows:
        """Load the activations of the views of all training images. New ones are computed first.

        Returns:
            [views * images, ...]: one view of all images after the other.

        Raises:
            SettingsError: as `load`.
        """
        # The number of views is not part of it: more of them go on where fewer have ended.
        identity = [*_identify_activations(network, feed), feed.augmentation, feed.seed]
        store = self._open_store(network, identity)
        names = []
        for view in range(feed.views):
            names += [f"{example.sha256}-{view}" for example in feed.splits.train]

        def compute(places: Sequence[int]) -> Iterator[np.ndarray]:
            batches = feed.load_views(places)
            return _run_network(network, batches, len(places), telemetry)

        return _complete_rows(store, names, compute, telemetry)

    def load_pixels(
        self,
        pixel_type: np.dtype[Any],
        machine: str,
        feed: Feed,
        examples: Sequence[Example],
        telemetry: Telemetry,
    ) -> KeptRows:
        """Load decoded images [n, size, size, 3]. New ones are decoded first.

        Args:
            pixel_type: float32, or uint8 for whole levels.
            machine: which may decide their last bits.
            feed: knows size and fit.
            examples: the images, of which there is at least one.
            telemetry: hears of the progress.

        Raises:
            SettingsError: as `load`.
        """
        identity = ["pixels", str(pixel_type), machine, *_identify_pixels(feed)]
        shape = (feed.image_size, feed.image_size, 3)
        store = RowStore(self.folder / digest(identity), shape, pixel_type)

        def compute(places: Sequence[int]) -> Iterator[np.ndarray]:
            left = len(places)
            for pixels in feed.load_images([examples[place] for place in places]):
                yield convert_pixels(pixels, pixel_type).numpy()[:left]
                left -= EVALUATION_BATCH

        return _complete_rows(store, [example.sha256 for example in examples], compute, telemetry)

    def _open_store(self, network: FrozenNetwork, identity: Sequence[Any]) -> RowStore:
        return RowStore(self.folder / digest(identity), network.shape, network.dtype)


def count_pixel_bytes(pixel_type: np.dtype[Any], feed: Feed, images: int) -> int:
    """The size of so many decoded images."""
    return images * feed.image_size**2 * 3 * pixel_type.itemsize


def _identify_activations(network: FrozenNetwork, feed: Feed) -> list[Any]:
    """What decides the bytes of the activations of images as they are, besides the images."""
    return [network.key, *_identify_pixels(feed)]


def _identify_pixels(feed: Feed) -> list[Any]:
    """What decides the pixels of images, besides the images and the machine."""
    versions = [DECODER, tf.__version__, keras.__version__, digest_code()]
    return [feed.image_size, feed.image_fit, versions]


def _complete_rows(
    store: RowStore,
    names: Sequence[str],
    compute: Callable[[Sequence[int]], Iterator[np.ndarray]],
    telemetry: Telemetry,
) -> KeptRows:
    """Open rows by name. Those that are not kept yet are computed, by their places in `names`."""
    new = store.find_missing(names)
    for first in range(0, len(new), SHARD_IMAGES):
        places = new[first : first + SHARD_IMAGES]
        shard = [names[place] for place in places]
        for rows_done in store.write_shard(shard, compute(places)):
            telemetry.emit(Progressed(first + rows_done, len(new), "images"))
    fields = {"images": len(names), "computed": len(new)}
    logger.debug("features", extra={"fields": fields})
    return store.open_rows(names)


def compute_activations(
    network: FrozenNetwork,
    feed: Feed,
    examples: Sequence[Example],
    telemetry: Telemetry,
) -> Iterator[np.ndarray]:
    """Run a network over images, batch by batch: [up to `EVALUATION_BATCH`, ...]."""
    return _run_network(network, feed.load_images(examples), len(examples), telemetry)


def _run_network(
    network: FrozenNetwork, batches: Iterable[tf.Tensor], images: int, telemetry: Telemetry
) -> Iterator[np.ndarray]:
    left = images
    for pixels in time_input(batches, telemetry):
        # The last batch is filled up with copies of its last image.
        yield network.infer(pixels).numpy()[:left]
        left -= EVALUATION_BATCH
