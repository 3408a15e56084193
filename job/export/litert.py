"""LiteRT (TensorFlow Lite): float32 [batch, size, size, 3] in RGB 0..255 to float32 [batch, classes].

The batch is 1 until the interpreter is told another: `resize_tensor_input(0, [n, size, size, 3])`.
"""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from job.export import saved_model
from job.export.export_input import ExportInput, from_pixels


def write(subject: ExportInput, path: Path) -> None:
    """Convert a SavedModel over the variables alone: from concrete functions comes NaN, silently (facts 5)."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        saved_model.save(subject.model, from_pixels(subject), Path(scratch, "1"))
        path.write_bytes(
            tf.lite.TFLiteConverter.from_saved_model(str(Path(scratch, "1"))).convert()
        )


def run(subject: ExportInput, path: Path) -> npt.NDArray[np.float32]:
    """The written model's probabilities for the pixels in the LiteRT interpreter, [batch, classes]."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.resize_tensor_input(
        interpreter.get_input_details()[0]["index"], subject.pixels.shape
    )
    runner = interpreter.get_signature_runner()
    return runner(images=subject.pixels)["probabilities"]
