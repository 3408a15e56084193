"""Write each format in one fixed order and compare each with the trained model.

This runs in the exporting process. All that does not depend on the variables is done before they
are there.
"""

import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.export import companions
from job.export.export_input import (
    Classify,
    ComparedImages,
    ExportInput,
    assign_variables,
    rebuild_classifier,
    trace_pixels,
)
from job.export.packing import ExportFolder
from job.export.parity import ParityCheck
from job.export.reference import read_padded
from job.export.request import ExportRequest, Parity

# Converters reorder and fuse the arithmetic, which moves a probability by 1e-5 to 2e-5. A lost or
# misread weight moves it by far more than this.
CONVERTED_TOLERANCE = 1e-3
# One is loaded by Python while native code optimizes and runs the other.
COMPARED_AT_ONCE = 2


class FormatModule(Protocol):
    """One way to write a classifier and to run what was written."""

    def prepare(self, export_input: ExportInput, /) -> Callable[[Path], None]:
        """Trace the classifier. Returns what writes it to a path, once it is trained."""

    def load(self, path: Path, /) -> Classify:
        """Load it from there. Returns what computes its probabilities."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """Where a format is in the bundle, and which code writes it.

    Attributes:
        path: within the bundle.
        module: the name of its `FormatModule` in this package.
        tolerance: largest difference of a probability; None takes the request's.
    """

    path: str
    module: str
    tolerance: float | None = None

    def import_module(self) -> FormatModule:
        """Its code. It is imported only where it is used: converters are large."""
        return cast(FormatModule, importlib.import_module(f"job.export.{self.module}"))


# The order matters: names inside TensorFlow depend on what the process has built before.
FORMATS = {
    "saved_model": ExportFormat("saved_model/1", "saved_model"),
    "keras": ExportFormat("model.keras", "keras_archive"),
    "onnx": ExportFormat("model.onnx", "onnx_graph", CONVERTED_TOLERANCE),
    "litert": ExportFormat("model.tflite", "litert", CONVERTED_TOLERANCE),
}


class FormatWriter:
    """Writes the request's formats and the files beside them.

    Attributes:
        seconds: wall seconds that each format took so far, once its variables were there.
    """

    def __init__(self, request: ExportRequest, export_folder: ExportFolder) -> None:
        """Build the classifier, and trace what the formats need."""
        # As in training, but on the CPU: the exports are the same on every node, and the run keeps
        # its GPU.
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
        tf.config.experimental.enable_op_determinism()
        self.seconds: dict[str, float] = {}
        self._request = request
        self._export_folder = export_folder
        self._kernel_bytes = 0
        self._modules: dict[str, FormatModule] = {}
        for name, export_format in FORMATS.items():
            if name in request.formats:
                self._modules[name] = export_format.import_module()
        self._input = rebuild_classifier(request)
        self._writers: dict[str, Callable[[Path], None]] = {}
        for name, module in self._modules.items():
            self._writers[name] = module.prepare(self._input)

    def write_all(self) -> None:
        """Write each format with the trained variables.

        Raises:
            ReleaseError: the tensors do not fit the architecture, or a layer is not Keras's own.
        """
        assign_variables(self._input.model, self._read_variables())
        for name, write in self._writers.items():
            with self._export_folder.begun.open("a") as begun:
                begun.write(f"{name}\n")
            start = time.monotonic()
            path = self._find_path(name)
            path.parent.mkdir(exist_ok=True)
            write(path)
            self.seconds[name] = time.monotonic() - start
        companions.write(self._input, self._export_folder.bundle)

    def compare_all(self) -> list[Parity]:
        """Load and run each format. Returns how far each is from the trained model.

        Raises:
            ReleaseError: a format disagrees with it.
        """
        request, export_folder = self._request, self._export_folder
        check = ParityCheck(
            bundle=export_folder.bundle,
            trained=np.load(export_folder.probabilities, allow_pickle=False),
            kernel_bytes=self._kernel_bytes,
        )
        encoded = read_padded(request.images, request.batch_size)
        images = ComparedImages(encoded, np.load(export_folder.pixels, allow_pickle=False))
        # preprocess.py decodes with another library than training: measured, not judged.
        script = export_folder.bundle / companions.SCRIPT
        pixels = companions.run(script, request.images, batch_size=request.batch_size)
        preprocessed = ComparedImages(encoded, pixels)

        parity = []
        classify_pixels = trace_pixels(self._input.model)
        with ThreadPoolExecutor(COMPARED_AT_ONCE) as pool:
            runs = [pool.submit(self._run_export, name, images) for name in self._writers]
        for name, run in zip(self._writers, runs, strict=True):
            classify, probabilities = run.result()
            if name == "keras":
                # Traced once, for both.
                classify_pixels = classify
            tolerance = FORMATS[name].tolerance
            if tolerance is None:
                tolerance = request.tolerance
            parity.append(check.check(name, self._find_path(name), probabilities, tolerance))
        parity.append(check.measure("preprocess", script, classify_pixels(preprocessed)))
        return parity

    def _run_export(
        self, name: str, images: ComparedImages
    ) -> tuple[Classify, npt.NDArray[np.float32]]:
        """Load what was written. Returns what runs it, and its probabilities."""
        start = time.monotonic()
        classify = self._modules[name].load(self._find_path(name))
        probabilities = classify(images)
        self.seconds[name] = round(self.seconds[name] + time.monotonic() - start, 3)
        return classify, probabilities

    def _find_path(self, name: str) -> Path:
        """Where a format is in the bundle."""
        return self._export_folder.bundle / FORMATS[name].path

    def _read_variables(self) -> list[npt.NDArray[Any]]:
        """The trained tensors in the order of the model's variables."""
        arrays = []
        with np.load(self._export_folder.variables, allow_pickle=False) as stored:
            for key in sorted(stored.files):
                array = stored[key]
                arrays.append(array)
                if array.ndim > 1:
                    self._kernel_bytes += array.nbytes
        return arrays
