"""The exporting process: `python -m job.export FOLDER`. Only `pack` starts it."""

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from job.errors import JobError
from job.export.packing import ExportFolder
from job.export.request import ExportRequest


def main(folder: Path) -> int:
    """Carry out the request in `folder`, and write the result or the error to `outcome.json`."""
    export_folder = ExportFolder(folder)
    request = ExportRequest.model_validate_json(export_folder.request.read_text())
    outcome: dict[str, Any]
    try:
        # It imports TensorFlow, which takes seconds. The thread that watches the run has started
        # before.
        from job.export.writing import write_all

        parity, seconds = write_all(request, export_folder)
        outcome = {
            "parity": [asdict(each) for each in parity],
            "seconds": seconds,
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


def _end_with_run() -> None:
    """End this process when its stdin closes, as it does when the run ends for any reason."""
    # Not through the buffer: at the interpreter's exit its lock, still held here, would abort it.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_run, daemon=True).start()
    sys.exit(main(Path(sys.argv[1])))
