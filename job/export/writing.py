"""Write each format in one fixed order and compare each with the trained model.

This runs in the exporting process.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.export import companions, keras_archive, litert, onnx_graph, saved_model
from job.export.export_input import ExportInput, rebuild_classifier
from job.export.packing import ExportFolder
from job.export.parity import ParityCheck
from job.export.reference import classify
from job.export.request import ExportRequest, Parity

# Converters reorder and fuse the arithmetic, which moves a probability by 1e-5 to 2e-5. A lost or
# misread weight moves it by far more than this.
CONVERTED_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One way to write a classifier and to run what was written.

    Attributes:
        path: within the bundle.
        write: writes the classifier to a path.
        run: loads it from there and returns its probabilities, [batch, classes].
        tolerance: largest difference of a probability; None takes the request's.
    """

    path: str
    write: Callable[[ExportInput, Path], None]
    run: Callable[[ExportInput, Path], npt.NDArray[np.float32]]
    tolerance: float | None = None


# The order matters: names inside TensorFlow depend on what the process has built before.
FORMATS = {
    "saved_model": ExportFormat("saved_model/1", saved_model.write, saved_model.run),
    "keras": ExportFormat("model.keras", keras_archive.write, keras_archive.run),
    "onnx": ExportFormat("model.onnx", onnx_graph.write, onnx_graph.run, CONVERTED_TOLERANCE),
    "litert": ExportFormat("model.tflite", litert.write, litert.run, CONVERTED_TOLERANCE),
}


def write_all(
    request: ExportRequest,
    export_folder: ExportFolder,
) -> tuple[list[Parity], dict[str, float]]:
    """Write the request's formats and the files beside them.

    Returns:
        How far each is from the trained model, and the wall seconds that each format took.

    Raises:
        ReleaseError: the tensors do not fit the architecture, or a format disagrees with the
            trained model.
    """
    # As in training, but on the CPU: the exports are the same on every node, and the run keeps its
    # GPU.
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(request.threads)
    tf.config.experimental.enable_op_determinism()
    kernel_bytes = 0
    arrays = []
    with np.load(export_folder.variables, allow_pickle=False) as stored:
        for key in sorted(stored.files):
            array = stored[key]
            arrays.append(array)
            if array.ndim > 1:
                kernel_bytes += array.nbytes
    export_input = rebuild_classifier(request, arrays)
    check = ParityCheck(
        bundle=export_folder.bundle,
        trained=np.load(export_folder.probabilities, allow_pickle=False),
        kernel_bytes=kernel_bytes,
    )

    results: list[Parity] = []
    seconds: dict[str, float] = {}
    for name, export_format in FORMATS.items():
        if name in request.formats:
            with export_folder.begun.open("a") as begun:
                begun.write(f"{name}\n")
            start = time.monotonic()
            path = export_folder.bundle / export_format.path
            path.parent.mkdir(exist_ok=True)
            export_format.write(export_input, path)
            received = export_format.run(export_input, path)
            tolerance = export_format.tolerance
            if tolerance is None:
                tolerance = request.tolerance
            parity = check.check(name, path, received, tolerance)
            results.append(parity)
            seconds[name] = round(time.monotonic() - start, 3)

    script = companions.write(export_input, export_folder.bundle)
    pixels = companions.run(
        script,
        request.images,
        batch_size=len(export_input.encoded),
    )
    # preprocess.py decodes with another library than training: measured, not judged.
    received = classify(export_input.model, pixels)
    parity = check.measure("preprocess", script, received)
    results.append(parity)
    return results, seconds
