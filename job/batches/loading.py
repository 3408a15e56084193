"""Image files, and rows that were kept, as parts of a tf.data graph."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from job import images
from job.audit import Example
from job.settings import ImageFit

# In parallel, but in order: another order would be another training.
PARALLEL_MAP: dict[str, Any] = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


class Rows(Protocol):
    """One row for each image [n, ...]: an array, or something that is read from the disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, places: Any, /) -> np.ndarray: ...


def make_reader(
    examples: Sequence[Example], size: int, fit: ImageFit
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make a function that reads the file of one of the examples by its path."""
    found = {example.format for example in examples}
    # In one order, which is part of what a graph is found by.
    formats = tuple(name for name in images.FORMATS if name in found)
    return functools.partial(_read_image, size=size, fit=fit, formats=formats)


# A function of its own is traced once. The decoder is large, and tf.data would trace it again in
# every epoch.
@tf.function(autograph=False)
def _read_image(path: tf.Tensor, size: int, fit: ImageFit, formats: tuple[str, ...]) -> tf.Tensor:
    """Read and decode an image file: float32 [size, size, 3] in 0..255."""
    encoded = tf.io.read_file(path)
    return images.prepare(encoded, size, fit, formats)


def convert_pixels(pixels: tf.Tensor, pixel_type: np.dtype[Any]) -> tf.Tensor:
    """Pixels float32 in 0..255 as they are, or rounded to whole levels for an integer type."""
    if pixel_type == np.float32:
        return pixels
    return tf.cast(tf.round(pixels), pixel_type)


def look_up_rows(places: tf.data.Dataset, size: int, rows: Rows) -> tf.data.Dataset:
    """Batches of `size` rows by their places int64 [size]."""
    shape = (size, *rows.shape[1:])

    def read_rows(places: np.ndarray) -> np.ndarray:
        # They may be on the disk: they are read step by step, never whole.
        return np.asarray(rows[places])

    def look_up(places: tf.Tensor) -> tf.Tensor:
        values = tf.numpy_function(read_rows, [places], rows.dtype, stateful=False)
        # What comes from NumPy has no shape, which the network needs.
        return tf.ensure_shape(values, shape)

    return places.map(look_up, **PARALLEL_MAP)
