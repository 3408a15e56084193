"""The frozen part of the network run once: its activations, kept on disk by everything that decides their bytes."""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed
from job.errors import SettingsError
from job.identity import digest, digest_code
from job.images import DECODER
from job.telemetry import Progressed, Telemetry

logger = logging.getLogger(__name__)


def cache(
    trunk: Any,
    feed: Feed,
    examples: Sequence[Example],
    key: str,
    folder: Path,
    telemetry: Telemetry,
) -> np.ndarray:
    """The activations of a frozen network: a read-only memory map [n, ...] in the order of `examples`.

    Always computed in batches of one size, so that a resumed or nightly run reads the bytes that a
    cold one computes.

    Args:
        trunk: a Keras model, images float32 [batch, size, size, 3] -> activations [batch, ...].
        key: names the weights, the cut and the machine; images, size and fit are added here.
        folder: where the arrays are kept.
    """
    versions = [DECODER, tf.__version__, keras.__version__, digest_code()]
    identity = [
        key,
        feed.image_size,
        feed.image_fit,
        versions,
        [example.sha256 for example in examples],
    ]
    path = folder / f"{digest(identity)}.npy"
    if not path.exists():
        _write(path, trunk, feed, examples, telemetry)
    logger.debug("features", extra={"fields": {"images": len(examples), "path": path.name}})
    return np.load(path, mmap_mode="r").view(
        _dtype(trunk)
    )  # NumPy's format has no word for bfloat16


def size(trunk: Any, images: int) -> int:
    """Bytes that `cache` would take on disk."""
    return images * int(np.prod(trunk.output.shape[1:])) * _dtype(trunk).itemsize


def _write(
    path: Path, trunk: Any, feed: Feed, examples: Sequence[Example], telemetry: Telemetry
) -> None:
    """Whole or not at all: written under a temporary name, then renamed."""
    run = tf.function(lambda pixels: trunk(pixels, training=False))
    header = {
        "descr": np.lib.format.dtype_to_descr(_dtype(trunk)),
        "fortran_order": False,
        "shape": (len(examples), *trunk.output.shape[1:]),
    }
    with _partial(path) as file:
        # Not through a memory map: on a full disk that is a SIGBUS, which no one can report.
        np.lib.format.write_array_header_1_0(file, header)
        for start, pixels in enumerate(feed.plain(examples)):
            done = min((start + 1) * EVALUATION_BATCH, len(examples))
            file.write(run(pixels).numpy()[: done - start * EVALUATION_BATCH].tobytes())
            telemetry.emit(Progressed(done, len(examples), "images"))


@contextmanager
def _partial(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its name once it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            finally:
                Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The activations cannot be kept in {path.parent}: {error.strerror}.",
            "Give GRAFT_CACHE_DIR a larger volume that the job may write to, or empty it.",
        ) from error


def _dtype(trunk: Any) -> np.dtype[Any]:
    return np.dtype(tf.as_dtype(trunk.output.dtype).as_numpy_dtype)
