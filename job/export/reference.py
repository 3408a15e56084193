"""What the trained model itself says about the images: the one way to compute it, so that equal means equal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.images import prepare_batch
from job.settings import ImageFit


def probabilities(
    model: Any, images: Sequence[Path], size: int, fit: ImageFit, batch_size: int
) -> npt.NDArray[np.float32]:
    """The trained model's probabilities for `ExportRequest.images`: float32 [len(images), classes].

    `model.predict` would compile with XLA, which rounds otherwise; hence `classify`.
    """
    return classify(model, decode(read_padded(images, batch_size), size, fit))[: len(images)]


def decode(encoded: list[bytes], size: int, fit: ImageFit) -> npt.NDArray[np.float32]:
    """The pixels as training sees them: float32 [len(encoded), size, size, 3]."""
    return tf.function(lambda images: prepare_batch(images, size, fit), autograph=False)(
        tf.constant(encoded)
    ).numpy()


def classify(model: Any, pixels: Any) -> npt.NDArray[np.float32]:
    """Run a Keras model as a graph, in inference mode: float32 [batch, size, size, 3] to float32 [batch, classes]."""
    return tf.function(lambda images: model(images, training=False), autograph=False)(
        pixels
    ).numpy()


def read_padded(images: Sequence[Path], batch_size: int) -> list[bytes]:
    """The files' bytes, repeated from the first until the batch is full: another batch size gives other last bits."""
    encoded = [path.read_bytes() for path in images]
    return [encoded[index % len(encoded)] for index in range(batch_size)]
