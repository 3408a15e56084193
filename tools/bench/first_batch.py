"""`graft run` up to its first batch of features, where it ends: what `bench` times."""

import os
import sys

from job import __main__ as graft
from job import supervision
from job.telemetry import Event, PhaseBegan, Progressed, RunTelemetry


def main() -> int:
    """Run Graft with a telemetry that ends the process at the first batch."""
    supervision.leave_out_unused()  # as the command does
    emit = RunTelemetry.emit
    running = ""

    def emit_until_first_batch(telemetry: RunTelemetry, event: Event) -> None:
        nonlocal running
        emit(telemetry, event)
        if isinstance(event, PhaseBegan):
            running = event.phase
        elif isinstance(event, Progressed) and running == "measurement":
            os._exit(0)

    RunTelemetry.emit = emit_until_first_batch  # type: ignore[method-assign, assignment]
    return graft.main(["run"])


if __name__ == "__main__":
    sys.exit(main())
