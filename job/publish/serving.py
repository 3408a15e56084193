"""Run the SavedModel of a release on encoded images. The one part that imports TensorFlow."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.errors import ReleaseError
from job.export.operations import require_known_operations

BATCH = 32
# What TensorFlow raises for a graph that it cannot load or run.
LOAD_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    RuntimeError,
    tf.errors.OpError,
)


class ServedModel:
    """A loaded SavedModel: encoded images in, probabilities out.

    Args:
        folder: holds saved_model.pb.
        classes: how many it has to tell apart.
        trust: whether it is run even if it may do more than compute.

    Raises:
        ReleaseError: this TensorFlow cannot load or run it, or it is not one of Graft's.
    """

    def __init__(self, folder: Path, classes: int, trust: bool = False) -> None:
        if not trust:
            require_known_operations(folder)
        self._folder = folder
        self._classes = classes
        try:
            # Kept, because the signature does not keep the variables alive.
            self._loaded: Any = tf.saved_model.load(str(folder))
            self._signature = self._loaded.signatures["serving_default"]
        except LOAD_ERRORS as error:
            raise ReleaseError(
                f"{folder} cannot be loaded: {error}", "Use the TensorFlow that wrote it."
            ) from error

    def classify(self, images: Sequence[Path]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [len(images), classes] of images that decode.

        Raises:
            ReleaseError: the model fails, or answers something else.
        """
        parts = []
        for start in range(0, len(images), BATCH):
            encoded = [image.read_bytes() for image in images[start : start + BATCH]]
            # One fixed batch size, because another one changes the last bits of the results.
            repeated = itertools.cycle(encoded)
            padded = list(itertools.islice(repeated, BATCH))
            try:
                probabilities = self._compute_probabilities(padded)
            except tf.errors.InvalidArgumentError as error:
                raise self._describe_failure(error) from error
            parts.append(probabilities[: len(encoded)])
        return np.concatenate(parts)

    def classify_readable(self, encoded: Sequence[bytes]) -> list[npt.NDArray[np.float32] | None]:
        """Probabilities float32 [classes] of each encoded image. None where one does not decode.

        A batch with a broken image is halved until it is alone.

        Raises:
            ReleaseError: the model fails in another way, or answers something else.
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
        """Probabilities float32 [len(encoded), classes].

        Raises:
            InvalidArgumentError: an image does not decode, or the model does not fit itself.
            ReleaseError: the model fails in another way, or answers something else.
        """
        try:
            outputs = self._signature(images=tf.constant(encoded))
            probabilities = outputs["probabilities"].numpy()
        except tf.errors.InvalidArgumentError:
            raise
        except LOAD_ERRORS as error:
            raise self._describe_failure(error) from error
        expected = len(encoded), self._classes
        if probabilities.shape != expected or not np.isfinite(probabilities).all():
            raise ReleaseError(
                f"{self._folder} answers with numbers of shape {probabilities.shape}; expected "
                f"{expected}, all finite: the manifest names {self._classes} classes.",
                "Promote an intact release.",
            )
        return np.asarray(probabilities, np.float32)

    def _describe_failure(self, error: Exception) -> ReleaseError:
        return ReleaseError(
            f"{self._folder} cannot be run: {error}", "Use the TensorFlow that wrote it."
        )
