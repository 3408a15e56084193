"""The parent's side: order the exports from a fresh process and take delivery.

A fresh process, because names and counters inside TensorFlow depend on what a process has built
before: only a fresh one writes equal bytes whether or not the run was interrupted (facts 5). It is
started by exec, for a fork of a process in which TensorFlow has run hangs (facts 3).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from job import supervision
from job.errors import ReleaseError
from job.export.request import Bundle, ExportRequest, Parity


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """The files through which parent and child speak; both know them by the folder alone."""

    folder: Path

    @property
    def request(self) -> Path:
        return self.folder / "request.json"

    @property
    def variables(self) -> Path:
        return self.folder / "variables.npz"

    @property
    def probabilities(self) -> Path:
        return self.folder / "probabilities.npy"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def outcome(self) -> Path:
        return self.folder / "outcome.json"

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr.txt"


def pack(
    request: ExportRequest,
    variables: Sequence[npt.NDArray[Any]],
    probabilities: npt.NDArray[np.float32],
    folder: Path,
) -> Bundle:
    """Write every format of a trained classifier and prove that each agrees with it.

    Args:
        request: what to build and to write.
        variables: the arrays of `list(classifier.model.variables)`, in that order.
        probabilities: float32 [len(request.images), classes], what the trained model says about
            them; see `job.export.reference.probabilities`.
        folder: receives the files; what else lies there stays.

    Raises:
        ReleaseError: an export failed or disagrees with the trained model; `folder` is then
        untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exports-", dir=folder.parent) as scratch:
        export_folder = ExportFolder(Path(scratch))
        _place_order(export_folder, request, variables, probabilities)
        outcome = _run_child(export_folder)
        files = _deliver(export_folder.bundle, folder)
    return Bundle(
        folder, files, tuple(Parity(**drift) for drift in outcome["drift"]), outcome["seconds"]
    )


def _place_order(
    export_folder: ExportFolder,
    request: ExportRequest,
    variables: Sequence[npt.NDArray[Any]],
    probabilities: npt.NDArray[np.float32],
) -> None:
    export_folder.request.write_text(request.model_dump_json())
    # Keyed by order: the names of Keras's variables are neither unique nor stable.
    arrays: dict[str, Any] = {f"{index:06d}": array for index, array in enumerate(variables)}
    np.savez(export_folder.variables, **arrays)
    np.save(export_folder.probabilities, probabilities)
    export_folder.bundle.mkdir()


def _run_child(export_folder: ExportFolder) -> dict[str, Any]:
    command = [sys.executable, "-m", "job.export", str(export_folder.folder)]
    # tf2onnx walks sets of strings, so the hash seed would show in the bytes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with export_folder.stderr.open("wb") as stderr:
        # The child ends itself when its stdin closes, so it does not outlive a parent that was
        # killed with -9; in a session of its own, it leaves Ctrl-C to the parent.
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        try:
            code = child.wait()
        finally:
            child.kill()
            child.communicate()
    return _read_outcome(export_folder, code)


def _read_outcome(export_folder: ExportFolder, code: int) -> dict[str, Any]:
    if not export_folder.outcome.exists():
        words = supervision.last_explanations(
            export_folder.stderr.read_text(errors="replace").splitlines()
        )
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        cure = (
            "Its last lines are above."
            if words
            else "It said nothing. Signal 9 mostly means too little memory."
        )
        raise ReleaseError(f"The exporting process {ended}; expected the exports.", cure, words)
    outcome: dict[str, Any] = json.loads(export_folder.outcome.read_text())
    if error := outcome.get("error"):
        raise ReleaseError(error["message"], error["cure"], tuple(error["problems"]))
    return outcome


def _deliver(bundle: Path, folder: Path) -> tuple[str, ...]:
    files = tuple(
        sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    )
    for name in sorted({file.split("/")[0] for file in files}):
        target = folder / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        shutil.move(bundle / name, target)
    return files
