"""Run the SavedModel of a release on encoded images. The one part that imports TensorFlow."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.errors import ReleaseError

BATCH = 32
TENSORFLOW = tf.__version__


class ServedModel:
    """A loaded SavedModel: encoded images in, probabilities out.

    Raises:
        ReleaseError: this TensorFlow cannot load or run it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            # Kept, because the signature does not keep the variables alive.
            self._loaded: Any = tf.saved_model.load(str(folder))
            self._signature = self._loaded.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ReleaseError(
                f"{folder} cannot be loaded: {error}", "Use the TensorFlow that wrote it."
            ) from error

    def classify(self, images: Sequence[Path]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [len(images), classes] of images that decode."""
        return np.concatenate(list(self.classify_batches(images)))

    def classify_batches(self, images: Sequence[Path]) -> Iterator[npt.NDArray[np.float32]]:
        """The same, batch by batch: [up to `BATCH`, classes]."""
        for start in range(0, len(images), BATCH):
            encoded = [image.read_bytes() for image in images[start : start + BATCH]]
            # One fixed batch size, because another one changes the last bits of the results.
            repeated = itertools.cycle(encoded)
            padded = list(itertools.islice(repeated, BATCH))
            probabilities = self._compute_probabilities(padded)
            yield probabilities[: len(encoded)]

    def classify_readable(self, encoded: Sequence[bytes]) -> list[npt.NDArray[np.float32] | None]:
        """Probabilities float32 [classes] of each encoded image. None where one does not decode.

        A batch with a broken image is halved until it is alone.
        """
        if not encoded:
            return []
        try:
            return list(self._compute_probabilities(list(encoded)))
        except tf.errors.InvalidArgumentError:
            if len(encoded) == 1:
                return [None]
        half = len(encoded) // 2
        return [*self.classify_readable(encoded[:half]), *self.classify_readable(encoded[half:])]

    def _compute_probabilities(self, encoded: list[bytes]) -> npt.NDArray[np.float32]:
        outputs = self._signature(images=tf.constant(encoded))
        probabilities: npt.NDArray[np.float32] = outputs["probabilities"].numpy()
        return probabilities


def apply_linear_head(folder: Path, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities float32 [n, classes], by the linear head of a SavedModel that `export` wrote.

    Args:
        folder: of the SavedModel.
        features: what its head takes, float32 [n, d].

    Raises:
        ReleaseError: its tensors cannot be read.
    """
    try:
        stored = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        # Named by their order in the model, whose last layer is the head.
        count = sum(name.startswith("tensors/") for name in stored.get_variable_to_shape_map())
        kernel, bias = (
            stored.get_tensor(f"tensors/{place}/.ATTRIBUTES/VARIABLE_VALUE")
            for place in (count - 2, count - 1)
        )
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ReleaseError(
            f"The tensors of {folder} cannot be read: {error}", "Use the TensorFlow that wrote it."
        ) from error

    @tf.function(autograph=False)
    def classify(batch: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.nn.bias_add(tf.matmul(batch, kernel), bias))

    parts = []
    for start in range(0, len(features), BATCH):
        batch = features[start : start + BATCH]
        # As in `classify_batches`, for the same last bits.
        padded = np.resize(batch, (BATCH, *batch.shape[1:]))
        parts.append(classify(padded).numpy()[: len(batch)])
    return np.concatenate(parts)
