"""The exporting process: `python -m job.export FOLDER`. Only `packing` starts it."""

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from job.errors import JobError
from job.export.packing import NEXT_FILE, ExportFolder
from job.export.request import ExportRequest


def main(folder: Path, next_file: threading.Semaphore) -> int:
    """Carry out the request in `folder`, and write the result or the error to `outcome.json`.

    Args:
        folder: see `ExportFolder`.
        next_file: counts the files that the run has sent: the variables, then the probabilities.
    """
    export_folder = ExportFolder(folder)
    request = ExportRequest.model_validate_json(export_folder.request.read_text())
    outcome: dict[str, Any]
    try:
        # It imports TensorFlow, which takes seconds. The thread that watches the run has started
        # before.
        from job.export.writing import FormatWriter

        writer = FormatWriter(request, export_folder)
        next_file.acquire()
        writer.write_all()
        next_file.acquire()
        outcome = {
            "parity": [asdict(each) for each in writer.compare_all()],
            "seconds": writer.seconds,
        }
    except JobError as error:
        outcome = {
            "error": {
                "message": error.message,
                "cure": error.cure,
                "problems": error.problems,
            }
        }
    export_folder.outcome.write_text(json.dumps(outcome))
    return 1 if "error" in outcome else 0


def _watch_run(next_file: threading.Semaphore) -> None:
    """Hear of each file that the run sends. End with the run, however that ends."""
    # Not through the buffer: at the interpreter's exit its lock, still held here, would abort it.
    while os.read(sys.stdin.fileno(), 1) == NEXT_FILE:
        next_file.release()
    os._exit(1)


if __name__ == "__main__":
    sent = threading.Semaphore(0)
    threading.Thread(target=_watch_run, args=(sent,), daemon=True).start()
    sys.exit(main(Path(sys.argv[1]), sent))
