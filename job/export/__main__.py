"""The exporting process: `python -m job.export FOLDER`. Only `packing` starts it."""

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from job.errors import JobError
from job.export.packing import SENT, ExportFolder
from job.export.request import ExportRequest


def main(folder: Path, sent: threading.Semaphore) -> int:
    """Carry out the request in `folder`, and write the result or the error to `outcome.json`.

    Args:
        folder: see `ExportFolder`.
        sent: counts what the run has sent: the variables, then the reference.
    """
    export_folder = ExportFolder(folder)
    request = ExportRequest.model_validate_json(export_folder.request.read_text())
    outcome: dict[str, Any]
    try:
        # It imports TensorFlow, which takes seconds. The thread that watches the run has started
        # before.
        from job.export.writing import FormatWriter

        writer = FormatWriter(request, export_folder)
        sent.acquire()
        writer.write_all()
        sent.acquire()
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


def _watch_run(sent: threading.Semaphore) -> None:
    """Hear of what the run sends. End with the run, however that ends."""
    # Not through the buffer: at the interpreter's exit its lock, still held here, would abort it.
    while os.read(sys.stdin.fileno(), 1) == SENT:
        sent.release()
    os._exit(1)


if __name__ == "__main__":
    received = threading.Semaphore(0)
    threading.Thread(target=_watch_run, args=(received,), daemon=True).start()
    sys.exit(main(Path(sys.argv[1]), received))
