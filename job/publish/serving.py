"""Run the SavedModel of a release on encoded images. The one part that imports TensorFlow."""

import itertools
from collections.abc import Iterator, Sequence
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
# What it raises where an image of a batch does not decode. That also cancels the loops over the
# others, and sometimes only these are reported.
BROKEN_IMAGE_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.CancelledError)
TENSORFLOW = tf.__version__


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
        return np.concatenate(list(self.classify_batches(images)))

    def classify_batches(self, images: Sequence[Path]) -> Iterator[npt.NDArray[np.float32]]:
        """The same, batch by batch: [up to `BATCH`, classes]."""
        for start in range(0, len(images), BATCH):
            encoded = [image.read_bytes() for image in images[start : start + BATCH]]
            # One fixed batch size, because another one changes the last bits of the results.
            repeated = itertools.cycle(encoded)
            padded = list(itertools.islice(repeated, BATCH))
            try:
                probabilities = self._compute_probabilities(padded)
            except BROKEN_IMAGE_ERRORS as error:
                raise self._describe_failure(error) from error
            yield probabilities[: len(encoded)]

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
        except BROKEN_IMAGE_ERRORS:
            if len(encoded) == 1:
                return [None]
        half = len(encoded) // 2
        return [*self.classify_readable(encoded[:half]), *self.classify_readable(encoded[half:])]

    def _compute_probabilities(self, encoded: list[bytes]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [len(encoded), classes].

        Raises:
            InvalidArgumentError, CancelledError: an image does not decode, or the model does not
                fit itself.
            ReleaseError: the model fails in another way, or answers something else.
        """
        try:
            outputs = self._signature(images=tf.constant(encoded))
            probabilities = outputs["probabilities"].numpy()
        except BROKEN_IMAGE_ERRORS:
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


def apply_linear_head(
    folder: Path, features: npt.NDArray[np.float32], classes: int
) -> npt.NDArray[np.float32]:
    """Probabilities float32 [n, classes], by the linear head of a SavedModel that `export` wrote.

    Args:
        folder: of the SavedModel.
        features: what its head takes, float32 [n, d].
        classes: how many the model has to tell apart.

    Raises:
        ReleaseError: its tensors cannot be read, or do not fit.
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

    expected = features.shape[1], classes
    if kernel.shape != expected or bias.shape != expected[1:]:
        raise ReleaseError(
            f"The head of {folder} has tensors of shapes {kernel.shape} and {bias.shape}; expected "
            f"{expected} and {expected[1:]}, for its backbone and the classes of its manifest.",
            "Promote an intact release.",
        )

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
