"""What is exported: the classifier rebuilt from code and tensors, and the images that it is compared on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job import model as backbones
from job.errors import ReleaseError
from job.export.reference import decode, read_padded
from job.export.request import ExportRequest
from job.settings import ImageFit
from job.weights import Weights

# The tensors come from the run, so the architecture is built without any file.
NO_WEIGHTS = Weights(
    kind="none", path=None, sha256="", origin="", licence="", classes=(), published=False
)


@dataclass(frozen=True, slots=True)
class ExportInput:
    """A trained classifier and one batch of real images.

    Attributes:
        model: Keras model, float32 [batch, size, size, 3] in RGB 0..255 to probabilities float32
            [batch, classes].
        classes: class names in the order of the outputs.
        size: side of the square input in pixels.
        fit: how a picture becomes square.
        encoded: the images as files, [batch].
        pixels: the same, decoded by the graph: float32 [batch, size, size, 3].
    """

    model: Any
    classes: tuple[str, ...]
    size: int
    fit: ImageFit
    encoded: list[bytes]
    pixels: npt.NDArray[np.float32]


def rebuild(request: ExportRequest, arrays: list[npt.NDArray[Any]]) -> ExportInput:
    """Build the architecture by code and fill it with the run's tensors.

    Raises:
        ReleaseError: the tensors do not fit the architecture.
    """
    spec = backbones.ClassifierSpec(
        backbone=request.backbone, head=request.head, classes=request.classes, seed=request.seed
    )
    classifier = backbones.build(spec, NO_WEIGHTS)
    assign(classifier.model, arrays)
    size, fit = classifier.image_size, request.backbone.image_fit
    encoded = read_padded(request.images, request.batch_size)
    pixels = decode(encoded, size, fit)
    return ExportInput(classifier.model, request.classes, size, fit, encoded, pixels)


def assign(model: Any, arrays: list[npt.NDArray[Any]]) -> None:
    """Fill a Keras model's variables by order.

    Raises:
        ReleaseError: another number of tensors, or other shapes, than the architecture has.
    """
    expected = [tuple(variable.shape) for variable in model.variables]
    received = [array.shape for array in arrays]
    if received != expected:
        pairs = enumerate(zip(received, expected, strict=False))
        differing = next(
            (f"tensor {i} has shape {r}, expected {e}" for i, (r, e) in pairs if r != e),
            "the rest is equal",
        )
        raise ReleaseError(
            f"{len(received)} trained tensors do not fit the rebuilt architecture, of {len(expected)}; {differing}.",
            "Export with the code and the settings that trained the model.",
        )
    for variable, array in zip(model.variables, arrays, strict=True):
        variable.assign(array)


def from_pixels(subject: ExportInput) -> Any:
    """The model as a `tf.function`, from `images` [batch, size, size, 3] to `probabilities` [batch, classes]."""
    signature = [tf.TensorSpec([None, subject.size, subject.size, 3], tf.float32, name="images")]

    @tf.function(input_signature=signature, autograph=False)
    def classify(images: Any) -> dict[str, Any]:
        return {"probabilities": subject.model(images, training=False)}

    return classify
