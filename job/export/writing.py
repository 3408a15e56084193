"""The child's side: write each format in one fixed order and compare each with the trained model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.export import companions, keras_archive, litert, onnx_graph, saved_model
from job.export.export_input import ExportInput, rebuild
from job.export.packing import ExportFolder
from job.export.parity import ParityCheck
from job.export.reference import classify
from job.export.request import ExportRequest, Parity

# Converters reorder and fuse the arithmetic: 1e-5 to 2e-5 (facts 5). A lost or misread weight shows
# far above this.
CONVERTED = 1e-3


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One way to write a classifier and to run what was written. `tolerance` None means the request's."""

    path: str
    write: Callable[[ExportInput, Path], None]
    run: Callable[[ExportInput, Path], npt.NDArray[np.float32]]
    tolerance: float | None = None


FORMATS = {
    "saved_model": ExportFormat("saved_model/1", saved_model.write, saved_model.run),
    "keras": ExportFormat("model.keras", keras_archive.write, keras_archive.run),
    "onnx": ExportFormat("model.onnx", onnx_graph.write, onnx_graph.run, CONVERTED),
    "litert": ExportFormat("model.tflite", litert.write, litert.run, CONVERTED),
}


def write_all(
    request: ExportRequest, export_folder: ExportFolder
) -> tuple[list[Parity], dict[str, float]]:
    """Write the request's formats. Returns how far each drifts, and the wall seconds that each took.

    Raises:
        ReleaseError: the tensors do not fit the architecture, or a format disagrees with the
        trained model.
    """
    _configure(request.threads)
    arrays = _variables(export_folder)
    subject = rebuild(request, arrays)
    proof = ParityCheck(
        np.load(export_folder.probabilities, allow_pickle=False),
        sum(each.nbytes for each in arrays if each.ndim > 1),
    )
    drifts: list[Parity] = []
    seconds: dict[str, float] = {}
    for name in (name for name in FORMATS if name in request.formats):
        start = time.monotonic()
        drifts.append(_write(name, subject, export_folder.bundle, proof, request.tolerance))
        seconds[name] = round(time.monotonic() - start, 3)
    return [*drifts, _write_companions(subject, request, export_folder.bundle, proof)], seconds


def _configure(threads: int) -> None:
    """As in training, but on the CPU alone: the exports are the same on every node, and the parent keeps its GPU."""
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()


def _variables(export_folder: ExportFolder) -> list[npt.NDArray[Any]]:
    with np.load(export_folder.variables, allow_pickle=False) as stored:
        return [stored[key] for key in sorted(stored.files)]


def _write(
    name: str, subject: ExportInput, bundle: Path, proof: ParityCheck, exact: float
) -> Parity:
    chosen = FORMATS[name]
    path = bundle / chosen.path
    path.parent.mkdir(exist_ok=True)
    chosen.write(subject, path)
    tolerance = exact if chosen.tolerance is None else chosen.tolerance
    return proof.check(name, bundle, path, chosen.run(subject, path), tolerance)


def _write_companions(
    subject: ExportInput, request: ExportRequest, bundle: Path, proof: ParityCheck
) -> Parity:
    """The files beside the model. preprocess.py decodes by another library: its drift is measured, not judged."""
    script = companions.write(subject, bundle)
    pixels = companions.run(script, request.images, len(subject.encoded))
    return proof.measure("preprocess", bundle, script, classify(subject.model, pixels))
