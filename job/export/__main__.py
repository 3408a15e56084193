"""The exporting process: `python -m job.export FOLDER`, started by `pack` and by nobody else."""

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
    """Carry out the order that lies in `folder`; what came of it, good or bad, is written to `outcome.json`."""
    export_folder = ExportFolder(folder)
    request = ExportRequest.model_validate_json(export_folder.request.read_text())
    outcome: dict[str, Any]
    try:
        # TensorFlow is imported here, after the thread that watches the parent has started.
        from job.export.writing import write_all

        drift, seconds = write_all(request, export_folder)
        outcome = {"drift": [asdict(each) for each in drift], "seconds": seconds}
    except JobError as error:
        outcome = {
            "error": {"message": error.message, "cure": error.cure, "problems": error.problems}
        }
    export_folder.outcome.write_text(json.dumps(outcome))
    return 1 if "error" in outcome else 0


def _end_with_parent() -> None:
    os.read(
        sys.stdin.fileno(), 1
    )  # not through the buffer, whose lock would abort the interpreter at its end
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(Path(sys.argv[1])))
