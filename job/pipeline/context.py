"""What a run is given besides its settings."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from job.telemetry import Telemetry
from job.workers import SINGLE_WORKER, Stop, WorkerGroup


@dataclass(frozen=True, slots=True)
class RunContext:
    """The process and its neighbours.

    Attributes:
        telemetry: who is told what goes on.
        stop: SIGTERM.
        keras_home: where Keras keeps its own weights files.
        worker_group: the workers that train this run together.
        member: whether this process is the one that joins the others.
    """

    telemetry: Telemetry
    stop: Stop
    keras_home: Path
    worker_group: WorkerGroup = SINGLE_WORKER
    member: bool = False

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside belongs to phase `name`.

        Raises:
            Interrupted: a stop was asked for before, and whoever it struck has swallowed it.
        """
        self.stop.check()
        with self.telemetry.phase(name):
            yield
