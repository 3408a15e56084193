"""The frozen part of the network run once: its activations, kept on disk by everything that decides their bytes."""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed
from job.identity import digest
from job.images import DECODER
from job.telemetry import Telemetry

logger = logging.getLogger(__name__)


def cache(
    trunk: Any, feed: Feed, examples: Sequence[Example], key: str, folder: Path, telemetry: Telemetry
) -> np.ndarray:
    """The activations of a frozen network: a read-only memory map [n, ...] in the order of `examples`.

    Always computed in batches of one size, so that a resumed or nightly run reads the bytes that a cold one computes.

    Args:
        trunk: a Keras model, images float32 [batch, size, size, 3] -> activations [batch, ...].
        key: names the weights, the cut and the machine; images, size and fit are added here.
        folder: where the arrays are kept.
    """
    versions = [DECODER, tf.__version__, keras.__version__]
    identity = [key, feed.image_size, feed.image_fit, versions, [example.sha256 for example in examples]]
    path = folder / f"{digest(identity)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, trunk, feed, examples, telemetry)
    logger.debug("features", extra={"fields": {"images": len(examples), "path": path.name}})
    return np.load(path, mmap_mode="r")


def size(trunk: Any, images: int) -> int:
    """Bytes that `cache` would take on disk."""
    (shape, dtype) = trunk.output.shape[1:], np.dtype(tf.as_dtype(trunk.output.dtype).as_numpy_dtype)
    return images * int(np.prod(shape)) * dtype.itemsize


def _write(path: Path, trunk: Any, feed: Feed, examples: Sequence[Example], telemetry: Telemetry) -> None:
    """Whole or not at all: written under a temporary name, then renamed."""
    run = tf.function(lambda pixels: trunk(pixels, training=False))
    shape = (len(examples), *trunk.output.shape[1:])
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        rows = np.lib.format.open_memmap(name, "w+", tf.as_dtype(trunk.output.dtype).as_numpy_dtype, shape)
        for start, pixels in enumerate(feed.plain(examples)):
            first = start * EVALUATION_BATCH
            rows[first : first + EVALUATION_BATCH] = run(pixels).numpy()[: len(examples) - first]
            telemetry.progress(min(first + EVALUATION_BATCH, len(examples)), len(examples), "images")
        rows.flush()
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
