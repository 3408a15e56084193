"""Compute the trained model's probabilities in one single way, so that equal means equal bits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf


def classify(model: Any, pixels: Any) -> npt.NDArray[np.float32]:
    """Run a Keras model as a graph, in inference mode.

    Args:
        model: from pixels to probabilities.
        pixels: float32 [batch, size, size, 3].

    Returns:
        float32 [batch, classes].
    """
    return make_graph(model)(pixels).numpy()


def make_graph(model: Any) -> Any:
    """A `tf.function` of a Keras model in inference mode, from pixels to probabilities."""

    @tf.function(autograph=False)
    def run_model(images: Any) -> Any:
        return model(images, training=False)

    # `model.predict` would compile with XLA, which rounds differently.
    return run_model


def read_padded(images: Sequence[Path], batch_size: int) -> list[bytes]:
    """Read the files' bytes, repeated from the first until the batch is full."""
    # Another batch size would give other last bits.
    encoded = [path.read_bytes() for path in images]
    batch = []
    for index in range(batch_size):
        batch.append(encoded[index % len(encoded)])
    return batch
