"""What is computed of images once, and kept on disk: activations of frozen networks, and pixels.

It is kept by the content of the image, in a folder that is named by what else decides it. A folder
that nobody has used for a week is removed when another one needs its room.
"""

import logging
import shutil
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
from job.files import count_disk_bytes, is_old
from job.identity import digest, digest_code
from job.images import DECODER
from job.kept_rows import KeptRows, RowStore
from job.settings import CacheSettings
from job.telemetry import Progressed, Telemetry, silent, time_input

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
        limit: bytes of all of them. What does not fit is computed in every epoch, where it can be.
    """

    folder: Path
    limit: int

    def fits(self, network: FrozenNetwork, feed: Feed, views: int = 0) -> bool:
        """Whether the activations of the training and validation images have room.

        Args:
            network: gives the activations.
            feed: the images.
            views: of each training image. 0: the image as it is.
        """
        store = self._open_activations(network, feed, views=bool(views))
        return self._has_room(store, max(views, 1) * len(feed.splits.train) + len(feed.splits.val))

    def fits_pixels(self, pixel_type: np.dtype[Any], machine: str, feed: Feed, images: int) -> bool:
        """Whether so many decoded images have room."""
        return self._has_room(self._open_pixels(pixel_type, machine, feed), images)

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
        store = self._open_activations(network, feed)
        images = [example.sha256 for example in examples]

        def compute(places: Sequence[int]) -> Iterator[np.ndarray]:
            chosen = [examples[place] for place in places]
            return compute_activations(network, feed, chosen, telemetry)

        return self._complete_rows(store, images, compute, telemetry)

    def load_views(self, network: FrozenNetwork, feed: Feed, telemetry: Telemetry) -> KeptRows:
        """Load the activations of the views of all training images. New ones are computed first.

        Returns:
            [views * images, ...]: one view of all images after the other.

        Raises:
            SettingsError: as `load`.
        """
        store = self._open_activations(network, feed, views=True)
        names = []
        for view in range(feed.views):
            names += [f"{example.sha256}-{view}" for example in feed.splits.train]

        def compute(places: Sequence[int]) -> Iterator[np.ndarray]:
            batches = feed.load_views(places)
            return _compute_rows(network.infer, batches, len(places), telemetry)

        return self._complete_rows(store, names, compute, telemetry)

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
        store = self._open_pixels(pixel_type, machine, feed)

        def convert(pixels: tf.Tensor) -> tf.Tensor:
            return convert_pixels(pixels, pixel_type)

        def compute(places: Sequence[int]) -> Iterator[np.ndarray]:
            batches = feed.load_images([examples[place] for place in places])
            # No device has work meanwhile that could wait for input.
            return _compute_rows(convert, batches, len(places), silent())

        images = [example.sha256 for example in examples]
        return self._complete_rows(store, images, compute, telemetry)

    def _open_activations(
        self, network: FrozenNetwork, feed: Feed, *, views: bool = False
    ) -> RowStore:
        # Not the batch size, the seed or the augmentation: they do not change an activation.
        identity = [network.key, *_identify_pixels(feed)]
        if views:
            # The number of views is not part of it: more of them go on where fewer have ended.
            identity += [feed.augmentation, feed.seed]
        return RowStore(self.folder / digest(identity), network.shape, network.dtype)

    def _open_pixels(self, pixel_type: np.dtype[Any], machine: str, feed: Feed) -> RowStore:
        identity = ["pixels", str(pixel_type), machine, *_identify_pixels(feed)]
        shape = (feed.image_size, feed.image_size, 3)
        return RowStore(self.folder / digest(identity), shape, pixel_type)

    def _complete_rows(
        self,
        store: RowStore,
        names: Sequence[str],
        compute: Callable[[Sequence[int]], Iterator[np.ndarray]],
        telemetry: Telemetry,
    ) -> KeptRows:
        """Open rows by name. Those that are not kept yet are computed, by their places in `names`.

        Rows without which nothing can go on are kept whether or not they have room.
        """
        new = store.find_missing(names)
        if new:
            self._make_room(store, len(names))
        for first in range(0, len(new), SHARD_IMAGES):
            places = new[first : first + SHARD_IMAGES]
            shard = [names[place] for place in places]
            for rows_done in store.write_shard(shard, compute(places)):
                telemetry.emit(Progressed(first + rows_done, len(new), "images"))
        fields = {"images": len(names), "computed": len(new)}
        logger.debug("features", extra={"fields": fields})
        return store.open_rows(names)

    def _has_room(self, store: RowStore, rows: int) -> bool:
        """Whether a store may have so many rows, once nothing unused is left beside it."""
        used = 0
        for folder in self._list_others(store):
            if not is_old(folder):
                used += count_disk_bytes(folder)
        return used + rows * store.row_bytes <= self.limit

    def _make_room(self, store: RowStore, rows: int) -> None:
        """Remove what is unused, the oldest first, until a store may have so many rows."""
        others = self._list_others(store)
        sizes = {folder: count_disk_bytes(folder) for folder in others}
        excess = sum(sizes.values()) + rows * store.row_bytes - self.limit
        for folder in others:
            if excess > 0 and is_old(folder):
                logger.info("features that nobody has used for a week removed: %s", folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                excess -= sizes[folder]

    def _list_others(self, store: RowStore) -> list[Path]:
        """The folders of all other stores, the one that was not used for longest first."""
        folders = self.folder.iterdir() if self.folder.is_dir() else ()
        others = [folder for folder in folders if folder != store.folder]
        return sorted(others, key=_find_last_use)


def open_feature_cache(settings: CacheSettings) -> FeatureCache:
    """The features in the cache of a run.

    They may take half of what images leave, so that those of later nights have room.
    """
    folder = settings.dir / "features"
    kept = count_disk_bytes(folder)
    room = shutil.disk_usage(settings.dir).free + kept
    if settings.limit is not None:
        room = min(room, settings.limit - (count_disk_bytes(settings.dir) - kept))
    return FeatureCache(folder, max(room, 0) // 2)


def _find_last_use(folder: Path) -> float:
    """When a store was used last, in seconds since the epoch. 0 if another run has removed it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _identify_pixels(feed: Feed) -> list[Any]:
    """What decides the pixels of images, besides the images and the machine."""
    versions = [DECODER, tf.__version__, keras.__version__, digest_code()]
    return [feed.image_size, feed.image_fit, versions]


def compute_activations(
    network: FrozenNetwork,
    feed: Feed,
    examples: Sequence[Example],
    telemetry: Telemetry,
) -> Iterator[np.ndarray]:
    """Run a network over images, batch by batch: [up to `EVALUATION_BATCH`, ...]."""
    return _compute_rows(network.infer, feed.load_images(examples), len(examples), telemetry)


def _compute_rows(
    compute: Callable[[tf.Tensor], tf.Tensor],
    batches: Iterable[tf.Tensor],
    images: int,
    telemetry: Telemetry,
) -> Iterator[np.ndarray]:
    left = images
    for pixels in time_input(batches, telemetry):
        # The last batch is filled up with copies of its last image.
        yield compute(pixels).numpy()[:left]
        left -= EVALUATION_BATCH
