"""Rebuild what is exported, the classifier, from code and tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job import model as backbones
from job.errors import ReleaseError
from job.export.reference import make_graph
from job.export.request import ExportRequest
from job.settings import ImageFit
from job.weights import NO_WEIGHTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportInput:
    """The classifier that is exported.

    Attributes:
        model: Keras model, float32 [batch, size, size, 3] in RGB 0..255 to probabilities float32
            [batch, classes].
        classes: class names in the order of the outputs.
        size: side of the square input in pixels.
        fit: how a picture becomes square.
    """

    model: Any
    classes: tuple[str, ...]
    size: int
    fit: ImageFit


@dataclass(frozen=True, slots=True)
class ComparedImages:
    """One batch of real images, on which exports are compared.

    Attributes:
        encoded: the images as files, [batch].
        pixels: the same, decoded: float32 [batch, size, size, 3].
    """

    encoded: list[bytes]
    pixels: npt.NDArray[np.float32]


# From images to probabilities float32 [batch, classes].
Classify = Callable[[ComparedImages], npt.NDArray[np.float32]]


def rebuild_classifier(request: ExportRequest) -> ExportInput:
    """Build the architecture from code. `assign_variables` fills it with the run's tensors."""
    spec = backbones.ClassifierSpec(
        backbone=request.backbone,
        head=request.head,
        classes=request.classes,
        seed=request.seed,
    )
    # The tensors come from the run, so no weights file is needed.
    classifier = backbones.build(spec, NO_WEIGHTS)
    return ExportInput(
        model=classifier.model,
        classes=request.classes,
        size=classifier.image_size,
        fit=request.backbone.image_fit,
    )


def assign_variables(model: Any, arrays: list[npt.NDArray[Any]]) -> None:
    """Fill a Keras model's variables by order.

    Raises:
        ReleaseError: another number of tensors, or other shapes, than the architecture has.
    """
    # By order, because the names of Keras's variables are neither unique nor stable.
    expected = [tuple(variable.shape) for variable in model.variables]
    received = [array.shape for array in arrays]
    if received != expected:
        difference = "the tensors that both have are equal in shape"
        for index, (shape, wanted) in enumerate(zip(received, expected, strict=False)):
            if shape != wanted:
                difference = f"tensor {index} has shape {shape}, expected {wanted}"
                break
        raise ReleaseError(
            f"{len(received)} trained tensors do not fit the {len(expected)} variables of the "
            f"rebuilt architecture: {difference}.",
            "Export with the code and the settings that trained the model.",
        )
    for variable, array in zip(model.variables, arrays, strict=True):
        variable.assign(array)


def trace_pixels(model: Any) -> Classify:
    """What computes the probabilities of a Keras model as a graph, traced once for each shape."""
    run_model = make_graph(model)
    return lambda images: run_model(images.pixels).numpy()


def trace_model(export_input: ExportInput) -> Any:
    """Trace the model as a `tf.function`. Values that its variables get later count as well.

    It maps `images` float32 [batch, size, size, 3] to `probabilities` float32 [batch, classes].
    """
    # The batch stays open: each user of the export chooses it.
    shape = [None, export_input.size, export_input.size, 3]
    images_spec = tf.TensorSpec(shape, tf.float32, name="images")

    @tf.function(input_signature=[images_spec], autograph=False)
    def classify(images: Any) -> dict[str, Any]:
        probabilities = export_input.model(images, training=False)
        return {"probabilities": probabilities}

    classify.get_concrete_function()
    return classify
