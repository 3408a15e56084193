"""Start the exporting process, wait for it, and take over the files that it wrote.

Names and counters inside TensorFlow depend on what a process has built before. Only a fresh process
writes equal bytes whether or not the run was interrupted. It is started by exec, because a fork of
a process in which TensorFlow has run hangs. See docs/decisions/0009.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from job import supervision
from job.errors import ReleaseError
from job.export.request import Bundle, ExportRequest, Parity

# Between two looks at what the exporting process has begun.
POLL_SECONDS = 0.2
# Imports what the run imports, from where the run does.
START = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop(1))
runpy.run_module("job.export", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """Paths of the files that the run and the exporting process exchange.

    Both derive them from the folder, which is all that the command line names.
    """

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
    def begun(self) -> Path:
        """The names of the formats that have begun, one per line."""
        return self.folder / "begun.txt"

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr.txt"


def _show_nothing(name: str, place: int) -> None:
    """Nobody watches."""
    del name, place


def pack(
    request: ExportRequest,
    variables: Sequence[npt.NDArray[Any]],
    probabilities: npt.NDArray[np.float32],
    folder: Path,
    show_format: Callable[[str, int], None] = _show_nothing,
) -> Bundle:
    """Write every format of a trained classifier and check that each agrees with it.

    Args:
        request: what to build and to write.
        variables: the arrays of `list(classifier.model.variables)`, in that order.
        probabilities: float32 [len(request.images), classes], the trained model's probabilities
            for them, from `job.export.reference.compute_probabilities`.
        folder: receives the files. Other files in it stay.
        show_format: called with the name and the place (from 0) of each format that begins.

    Raises:
        ReleaseError: an export failed or disagrees with the trained model. `folder` is then
            unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Beside `folder`, on the same file system, so that moving a file does not copy it.
    with tempfile.TemporaryDirectory(prefix=".exports-", dir=folder.parent) as scratch:
        export_folder = ExportFolder(Path(scratch))
        export_folder.request.write_text(request.model_dump_json())
        # Keyed by order: the names of Keras's variables are neither unique nor stable.
        arrays: dict[str, Any] = {}
        for index, array in enumerate(variables):
            arrays[f"{index:06d}"] = array
        np.savez(export_folder.variables, **arrays)
        np.save(export_folder.probabilities, probabilities)
        export_folder.bundle.mkdir()

        outcome = _run_export_process(export_folder, show_format)
        files = _move_files(export_folder.bundle, folder)
    parity = tuple(Parity(**row) for row in outcome["parity"])
    return Bundle(folder, files, parity, outcome["seconds"])


def _run_export_process(
    export_folder: ExportFolder, show_format: Callable[[str, int], None]
) -> dict[str, Any]:
    # Not by `-m`, which would look for the package in the working directory first. There may be
    # somebody else's `job/`, or a `random.py`.
    folders = [str(entry) for entry in sys.path if entry]
    if str(supervision.SOURCES) not in folders:
        folders.append(str(supervision.SOURCES))
    arguments = [json.dumps(folders), str(export_folder.folder)]
    command = [sys.executable, "-P", "-c", START, *arguments]
    # tf2onnx iterates over sets of strings, so the hash seed would show in the bytes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with export_folder.stderr.open("wb") as stderr:
        # The process ends itself when its stdin closes, so it does not outlive a run that was
        # killed with -9. It has its own session, so Ctrl-C reaches the run alone, which ends it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        try:
            code = _wait_for_process(process, export_folder.begun, show_format)
        finally:
            process.kill()
            process.communicate()

    if not export_folder.outcome.exists():
        lines = export_folder.stderr.read_text(errors="replace").splitlines()
        words = supervision.last_explanations(lines)
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        cure = "Its last lines are above."
        if not words:
            cure = "It wrote nothing. Signal 9 mostly means too little memory."
        raise ReleaseError(f"The exporting process {ended}; expected the exports.", cure, words)
    outcome: dict[str, Any] = json.loads(export_folder.outcome.read_text())
    if error := outcome.get("error"):
        raise ReleaseError(error["message"], error["cure"], tuple(error["problems"]))
    return outcome


def _wait_for_process(
    process: subprocess.Popen[bytes], begun: Path, show_format: Callable[[str, int], None]
) -> int:
    """Wait for its end, and show each format that it begins. Returns its exit code."""
    shown = 0
    while True:
        names = begun.read_text().split() if begun.exists() else []
        for place in range(shown, len(names)):
            show_format(names[place], place)
        shown = len(names)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_SECONDS)


def _move_files(bundle: Path, folder: Path) -> tuple[str, ...]:
    """Replace the exports of before. Returns the paths of the files, relative and sorted."""
    files = []
    for path in bundle.rglob("*"):
        if path.is_file():
            relative = path.relative_to(bundle)
            files.append(relative.as_posix())
    for source in bundle.iterdir():
        target = folder / source.name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        shutil.move(source, target)
    return tuple(sorted(files))
