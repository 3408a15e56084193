"""`graft run` up to its first batch of training, where it ends: what `bench` times."""

import os
import sys
from typing import Any

from job import __main__ as graft
from job.telemetry import Telemetry


def main() -> Any:
    """Run Graft with a telemetry that ends the process at the first batch."""
    phase, progress = Telemetry.phase, Telemetry.progress
    entered: list[str] = []

    def enter(telemetry: Telemetry, name: str) -> Any:
        entered.append(name)
        return phase(telemetry, name)

    def told(telemetry: Telemetry, done: int, total: int, unit: str) -> None:
        progress(telemetry, done, total, unit)
        if entered[-1] == "training":
            os._exit(0)

    Telemetry.phase, Telemetry.progress = enter, told  # type: ignore[assignment, method-assign]
    return graft.main(["run"])


if __name__ == "__main__":
    sys.exit(main())
