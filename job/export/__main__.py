"""The exporting process: `python -m job.export FOLDER`. Only `packing` starts it."""

import gc
import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from job import supervision
from job.errors import JobError
from job.export.packing import SENT, ExportFolder
from job.export.request import ExportRequest


def main(folder: Path, sent: threading.Semaphore) -> int:
    """Carry out the request in `folder`, and write the result or the error to `outcome.json`.

    Args:
        folder: see `ExportFolder`.
        sent: counts what the run has sent: the request, the variables, then the reference.
    """
    # It imports TensorFlow, which takes seconds. The run is watched by then.
    with supervision.import_large_packages():
        from job.export.writing import FormatWriter
    # What was imported stays: it is no garbage to look for.
    gc.freeze()

    export_folder = ExportFolder(folder)
    sent.acquire()
    request = ExportRequest.model_validate_json(export_folder.request.read_text())
    outcome: dict[str, Any]
    try:
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
    supervision.leave_out_unused()
    supervision.leave(main(Path(sys.argv[1]), received))
