"""Start the exporting process, send it the trained classifier, and take over what it wrote.

Names and counters inside TensorFlow depend on what a process has built before. Only a fresh process
writes equal bytes whether or not the run was interrupted. It is started by exec, because a fork of
a process in which TensorFlow has run hangs. See docs/decisions/0009.

It may be started before it is known what it exports. It then imports TensorFlow meanwhile. With the
request it builds and traces, and with the variables it writes. See docs/decisions/0033 and 0052.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from job import supervision
from job.errors import ReleaseError
from job.export.request import Bundle, ExportRequest, Parity

# What the run writes to the process when the request is there, then the variables, then the
# reference.
SENT = b"."
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
    def pixels(self) -> Path:
        return self.folder / "pixels.npy"

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


@dataclass(frozen=True, slots=True)
class ExportProcess:
    """An exporting process that was started for one request."""

    request: ExportRequest
    export_folder: ExportFolder
    process: subprocess.Popen[bytes]

    def send_request(self) -> None:
        """Let it build and trace."""
        self.export_folder.request.write_text(self.request.model_dump_json())
        self._announce_files()

    def send_variables(self, variables: Sequence[npt.NDArray[Any]]) -> None:
        """Let it write the formats.

        Args:
            variables: the arrays of `list(classifier.model.variables)`, in that order.
        """
        # Keyed by order: the names of Keras's variables are neither unique nor stable.
        arrays: dict[str, Any] = {}
        for index, array in enumerate(variables):
            arrays[f"{index:06d}"] = array
        np.savez(self.export_folder.variables, **arrays)
        self._announce_files()

    def send_reference(
        self, pixels: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float32]
    ) -> None:
        """Let it compare what it has written.

        Args:
            pixels: the request's images, decoded and repeated until the batch is full: float32
                [batch, size, size, 3].
            probabilities: the trained model's for them, float32 [len(images), classes].
        """
        np.save(self.export_folder.pixels, pixels)
        np.save(self.export_folder.probabilities, probabilities)
        self._announce_files()

    def wait(self, show_format: Callable[[str, int], None]) -> dict[str, Any]:
        """Wait until it ends. Returns the parity and the seconds of each format.

        Args:
            show_format: called with the name and the place (from 0) of each format that begins.

        Raises:
            ReleaseError: it failed, or an export disagrees with the trained model.
        """
        code = self._wait_for_process(show_format)
        export_folder = self.export_folder
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

    def _wait_for_process(self, show_format: Callable[[str, int], None]) -> int:
        """Wait for its end, and show each format that it begins. Returns its exit code."""
        begun = self.export_folder.begun
        shown = 0
        while True:
            names = begun.read_text().split() if begun.exists() else []
            for place in range(shown, len(names)):
                show_format(names[place], place)
            shown = len(names)
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(POLL_SECONDS)

    def _announce_files(self) -> None:
        """Say that the next files are complete."""
        assert self.process.stdin
        # A process that has failed reads no more. `wait` says why.
        with suppress(BrokenPipeError):
            self.process.stdin.write(SENT)
            self.process.stdin.flush()


class Exporter:
    """Exports one trained classifier, by a process that may start before it is trained.

    Use it in a `with` block, at whose end the process is over:

        process = exporter.start(request)
        process.send_variables(variables)
        process.send_reference(pixels, probabilities)
        bundle = exporter.finish()

    Args:
        folder: receives the files. Other files in it stay.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._export_folder: ExportFolder | None = None
        self._running: ExportProcess | None = None

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = self._export_folder = self._running = None
        self._opened.close()

    def start(self, request: ExportRequest) -> ExportProcess:
        """Give a process its request, unless one has got the same request before."""
        if self._running:
            if self._running.request == request:
                return self._running
            self.__exit__()
        self.prepare()
        assert self._process
        assert self._export_folder
        self._running = ExportProcess(request, self._export_folder, self._process)
        self._running.send_request()
        return self._running

    def prepare(self) -> None:
        """Start a process, unless there is one. It imports TensorFlow and waits for a request."""
        if self._process:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # Beside `folder`, on the same file system, so that moving a file does not copy it.
        scratch = tempfile.TemporaryDirectory(prefix=".exports-", dir=self._folder.parent)
        export_folder = ExportFolder(Path(self._opened.enter_context(scratch)))
        export_folder.bundle.mkdir()
        stderr = self._opened.enter_context(export_folder.stderr.open("wb"))
        # Kept at once: a signal may end the run at any instant.
        self._process = subprocess.Popen(
            _compose_command(export_folder),
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            # tf2onnx iterates over sets of strings, so the hash seed would show in the bytes.
            env={**os.environ, "PYTHONHASHSEED": "0"},
            # The process ends itself when its stdin closes, so it does not outlive a run that was
            # killed with -9. It has its own session, so Ctrl-C reaches the run alone, which ends
            # it.
            start_new_session=True,
        )
        self._export_folder = export_folder

    def finish(self, show_format: Callable[[str, int], None] = _show_nothing) -> Bundle:
        """Wait for the exports, and take them over.

        Args:
            show_format: called with the name and the place (from 0) of each format that begins.

        Raises:
            ReleaseError: an export failed or disagrees with the trained model. The folder is then
                unchanged.
        """
        assert self._running, "nothing was started"
        outcome = self._running.wait(show_format)
        files = _move_files(self._running.export_folder.bundle, self._folder)
        parity = tuple(Parity(**row) for row in outcome["parity"])
        return Bundle(self._folder, files, parity, outcome["seconds"])


def _compose_command(export_folder: ExportFolder) -> list[str]:
    """The command line of the exporting process."""
    # Not by `-m`, which would look for the package in the working directory first. There may be
    # somebody else's `job/`, or a `random.py`.
    folders = [str(entry) for entry in sys.path if entry]
    if str(supervision.SOURCES) not in folders:
        folders.append(str(supervision.SOURCES))
    return [sys.executable, "-P", "-c", START, json.dumps(folders), str(export_folder.folder)]


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
