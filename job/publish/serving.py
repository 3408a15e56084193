"""Run the SavedModel of a release on encoded images. The one part that imports TensorFlow."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.errors import ReleaseError

BATCH = 32


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
        parts = []
        for start in range(0, len(images), BATCH):
            encoded = [image.read_bytes() for image in images[start : start + BATCH]]
            # One fixed batch size, because another one changes the last bits of the results.
            repeated = itertools.cycle(encoded)
            padded = list(itertools.islice(repeated, BATCH))
            probabilities = self._compute_probabilities(padded)
            parts.append(probabilities[: len(encoded)])
        return np.concatenate(parts)

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
