"""The process that trains with the other workers, started by `together` and by nobody else."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from job import pipeline, publish, storage, telemetry
from job.dataset import Dataset
from job.errors import JobError, TemporaryError
from job.pipeline.relay import LogRelay, Relay, Wire
from job.pipeline.surroundings import Surroundings
from job.settings import Settings
from job.workers import Crew, Stop, Terminated

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, by whom."""

    settings: Settings
    crew: Crew
    data: Dataset
    run_id: str
    keras_home: Path
    parent: int


def main(order: Order, pipe: Connection) -> None:
    """Train to the end; every outcome goes to the parent, as an error that people understand."""
    _end_with(order.parent)
    # Nothing is forked; but as it was spawned, every lock would be a named semaphore, left behind when it is killed.
    multiprocessing.set_start_method("fork", force=True)
    wire = Wire(pipe)
    telemetry.configure_logs(sys.stderr, terminal=False)
    logging.getLogger().handlers = [LogRelay(wire)]
    stop = Stop()
    try:
        _train(order, wire, stop)
    except (Terminated, Exception) as error:  # noqa: BLE001 - the parent reports it, whatever it is.
        wire.send("ended", _understood(stop.explained(error)))
    else:
        wire.send("ended", None)


def _train(order: Order, wire: Wire, stop: Stop) -> None:
    models = storage.connect(order.settings.output.uri).child(order.settings.name)
    kept = pipeline.shelf(order.settings, models, order.run_id)
    around = Surroundings(Relay(wire), stop, order.keras_home, order.crew, member=True)
    pipeline.train(order.settings, around, order.data, publish.history(models), kept)


def _understood(error: BaseException) -> Exception:
    """An operation between workers fails on all of them as soon as one is gone."""
    if isinstance(error, JobError):
        return error
    import tensorflow as tf

    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)
    if isinstance(error, gone):
        reason = error.message.partition("\n")[0].rpartition("}} ")[2]  # without the operation's name
        return TemporaryError(
            f"Another worker is gone, or cannot be reached: {reason}",
            "Start all workers again: they go on from the checkpoint.",
        )
    logging.getLogger(__name__).error("training failed", exc_info=error)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _end_with(parent: int) -> None:
    """Die with a parent that was killed with -9. A thread could not: while TensorFlow joins, no Python code runs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
