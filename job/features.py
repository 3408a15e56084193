"""The frozen part of a network runs once per image: its activations are kept on disk.

They are kept by the content of the image. A data set with a few new images costs the activations of
these images alone.

    features/<what decides the activations>/<its images>.npy    one shard: an array [n, ...]
                                            <its images>.txt    their SHA-256, one in a line

A shard counts once its list of images is there, which is written last.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed
from job.errors import SettingsError
from job.files import write_whole
from job.identity import digest, digest_code
from job.images import DECODER
from job.telemetry import Progressed, Telemetry

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Activations of images, read from the disk where they are needed.

    Attributes:
        shards: read-only memory maps [n, ...].
        shard: which shard has each image, int [images].
        row: in which row of it, int [images].
        dtype: of the activations.
    """

    shards: tuple[np.ndarray, ...]
    shard: np.ndarray
    row: np.ndarray
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Images first: (images, ...)."""
        return (len(self.row), *self.shards[0].shape[1:])

    def __len__(self) -> int:
        return len(self.row)

    def select(self, places: slice) -> "Activations":
        """Select a part of the images, and read nothing."""
        return replace(self, shard=self.shard[places], row=self.row[places])

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """Read the activations of some images into memory: [len(places), ...]."""
        shards = self.shard[places]
        rows = self.row[places]
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number in np.unique(shards):
            chosen = shards == number
            # NumPy's format has no name for bfloat16: the file holds its bytes as raw data.
            found[chosen] = self.shards[number][rows[chosen]].view(self.dtype)
        return found


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
    ) -> Activations:
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
        folder = self.folder / digest(identity)
        kept = _read_index(folder)
        # A dictionary instead of a set: it keeps the order of the images.
        missing: dict[str, Example] = {}
        for example in examples:
            if example.sha256 not in kept:
                missing[example.sha256] = example
        new = list(missing.values())
        for first in range(0, len(new), SHARD_IMAGES):
            batch = new[first : first + SHARD_IMAGES]
            for rows_done in _write_shard(folder, network, feed, batch):
                telemetry.emit(Progressed(first + rows_done, len(new), "images"))
        if new:
            kept = _read_index(folder)
        fields = {"images": len(examples), "computed": len(new)}
        logger.debug("features", extra={"fields": fields})
        return _open_shards(kept, examples, network.dtype)


def compute_activations(
    network: FrozenNetwork,
    feed: Feed,
    examples: Sequence[Example],
) -> Iterator[np.ndarray]:
    """Run a network over images, batch by batch: [up to `EVALUATION_BATCH`, ...]."""
    left = len(examples)
    for pixels in feed.load_images(examples):
        # The last batch is filled up with copies of its last image.
        yield network.infer(pixels).numpy()[:left]
        left -= EVALUATION_BATCH


def _read_index(folder: Path) -> dict[str, tuple[Path, int]]:
    """The shard and the row of each image whose activations are kept, by its SHA-256."""
    index: dict[str, tuple[Path, int]] = {}
    for listing in sorted(folder.glob("*.txt")):
        shard = listing.with_suffix(".npy")
        for row, image in enumerate(listing.read_text().split()):
            # Two runs at once may have computed the same image: either row is right.
            index.setdefault(image, (shard, row))
    return index


def _write_shard(
    folder: Path,
    network: FrozenNetwork,
    feed: Feed,
    examples: Sequence[Example],
) -> Iterator[int]:
    """Compute and keep the activations of new images. Yields how many are done."""
    listing = "\n".join(example.sha256 for example in examples)
    path = folder / f"{digest(listing)}.npy"
    header = {
        "descr": np.lib.format.dtype_to_descr(network.dtype),
        "fortran_order": False,
        "shape": (len(examples), *network.shape),
    }
    with _open_partial(path) as file:
        # Not through a memory map: on a full disk that is a SIGBUS, which nothing can report.
        np.lib.format.write_array_header_1_0(file, header)
        done = 0
        for rows in compute_activations(network, feed, examples):
            file.write(rows.tobytes())
            done += len(rows)
            yield done
    with _open_partial(path.with_suffix(".txt")) as file:
        file.write(listing.encode())


def _open_shards(
    kept: dict[str, tuple[Path, int]],
    examples: Sequence[Example],
    dtype: np.dtype[Any],
) -> Activations:
    numbers: dict[Path, int] = {}
    shards: list[int] = []
    rows: list[int] = []
    for example in examples:
        path, row = kept[example.sha256]
        shards.append(numbers.setdefault(path, len(numbers)))
        rows.append(row)
    maps = [np.load(path, mmap_mode="r") for path in numbers]
    return Activations(
        shards=tuple(maps),
        shard=np.array(shards),
        row=np.array(rows),
        dtype=dtype,
    )


@contextmanager
def _open_partial(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its name once it is complete."""
    try:
        with write_whole(path) as file:
            yield file
    except OSError as error:
        raise SettingsError(
            f"The activations cannot be kept in {path.parent}: {error.strerror}.",
            "Give GRAFT_CACHE_DIR a larger volume that the job may write to, or empty it.",
        ) from error
