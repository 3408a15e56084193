"""What a run is given besides its settings."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from job.telemetry import Telemetry
from job.workers import SINGLE_WORKER, Stop, WorkerGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The process of a run and what is around it.

    Attributes:
        telemetry: receives what happens.
        stop: the request to stop, which SIGTERM makes.
        keras_home: where Keras keeps its own weights files.
        worker_group: the workers that train this run.
        joins_workers: whether this process is the one that computes with the other workers.
    """

    telemetry: Telemetry
    stop: Stop
    keras_home: Path
    worker_group: WorkerGroup = SINGLE_WORKER
    joins_workers: bool = False

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside belongs to phase `name`.

        Raises:
            Interrupted: a stop was requested before, and the code in which it was raised has
                dropped it.
        """
        self.stop.check()
        with self.telemetry.phase(name):
            yield
