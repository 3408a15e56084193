"""Write LiteRT (TensorFlow Lite).

It maps float32 [batch, size, size, 3] in RGB 0..255 to float32 [batch, classes]. The batch is 1
until the interpreter is resized: `resize_tensor_input(0, [n, size, size, 3])`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from job.export import saved_model
from job.export.export_input import Classify, ComparedImages, ExportInput, trace_model


def prepare(export_input: ExportInput) -> Callable[[Path], None]:
    """Trace the model. Returns what converts a SavedModel that tracks the variables alone."""
    function = trace_model(export_input)

    def write(path: Path) -> None:
        # Converting concrete functions instead gives a model whose every answer is NaN, without an
        # error. See docs/decisions/0009.
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            source = Path(scratch, "1")
            saved_model.save(export_input.model, function, source)
            converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
            path.write_bytes(converter.convert())

    return write


def load(path: Path) -> Classify:
    """Load the written model. Returns what computes its probabilities, [batch, classes]."""
    interpreter = Interpreter(model_path=str(path))

    def classify(images: ComparedImages) -> npt.NDArray[np.float32]:
        (input_details,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(input_details["index"], images.pixels.shape)
        outputs = interpreter.get_signature_runner()(images=images.pixels)
        return outputs["probabilities"]

    return classify
