"""The frozen part of a network runs once: its activations are kept on disk.

A file is named by everything that decides its bytes.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class FrozenNetwork:
    """A network whose activations are kept.

    Attributes:
        model: images float32 [batch, size, size, 3] -> activations [batch, ...].
        key: names what decides the activations besides the images: the weights, the place where the
            backbone is cut, the precision and the machine.
    """

    model: keras.Model
    key: str

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
    ) -> np.ndarray:
        """Load the activations of a network, which are computed the first time.

        They are always computed in batches of one size, so that a resumed or nightly run reads the
        bytes that a cold one computes.

        Returns:
            a read-only memory map [n, ...] in the order of `examples`.

        Raises:
            SettingsError: the folder cannot be written, or the disk is full.
        """
        # Not the batch size, the seed or the augmentation: they do not change an activation.
        identity = [
            network.key,
            feed.image_size,
            feed.image_fit,
            [DECODER, tf.__version__, keras.__version__, digest_code()],
            [example.sha256 for example in examples],
        ]
        path = self.folder / f"{digest(identity)}.npy"
        if not path.exists():
            header = {
                "descr": np.lib.format.dtype_to_descr(network.dtype),
                "fortran_order": False,
                "shape": (len(examples), *network.shape),
            }
            with _open_partial(path) as file:
                # Not through a memory map: on a full disk that is a SIGBUS, which nothing can
                # report.
                np.lib.format.write_array_header_1_0(file, header)
                done = 0
                for rows in compute_activations(network, feed, examples):
                    file.write(rows.tobytes())
                    done += len(rows)
                    telemetry.emit(Progressed(done, len(examples), "images"))
        logger.debug("features", extra={"fields": {"images": len(examples), "path": path.name}})
        # NumPy's format has no name for bfloat16: the file holds its bytes as raw data.
        return np.load(path, mmap_mode="r").view(network.dtype)


def compute_activations(
    network: FrozenNetwork,
    feed: Feed,
    examples: Sequence[Example],
) -> Iterator[np.ndarray]:
    """Run a network over images, batch by batch: [up to `EVALUATION_BATCH`, ...]."""
    run = tf.function(lambda pixels: network.model(pixels, training=False))
    left = len(examples)
    for pixels in feed.load_images(examples):
        # The last batch is filled up with copies of its last image.
        yield run(pixels).numpy()[:left]
        left -= EVALUATION_BATCH


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
