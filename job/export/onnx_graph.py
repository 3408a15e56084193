"""ONNX, opset 17: `images` float32 [batch, size, size, 3] in RGB 0..255 to `probabilities` float32 [batch, classes]."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import tf2onnx

from job.export.subject import Subject, from_pixels

OPSET = 17


def write(subject: Subject, path: Path) -> None:
    """Convert the model with names of our own for its input and output."""
    function = from_pixels(subject)
    tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET, output_path=str(path))


def run(subject: Subject, path: Path) -> npt.NDArray[np.float32]:
    """The written graph's probabilities for the pixels in ONNX Runtime, [batch, classes]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # so that the measured drift is the same on every node
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": subject.pixels})[0]
