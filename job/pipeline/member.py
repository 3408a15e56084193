"""The process that trains with the other workers, started by `together` and by nobody else."""

import logging
import multiprocessing
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from job import pipeline, publish, storage, supervision, telemetry
from job.dataset import Dataset
from job.errors import JobError, TemporaryError
from job.pipeline.context import RunContext
from job.pipeline.relay import LogRelay, MessagePipe, RemoteTelemetry
from job.settings import Settings
from job.workers import Stop, Terminated, WorkerGroup


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What is to be trained, by whom."""

    settings: Settings
    worker_group: WorkerGroup
    data: Dataset
    run_id: str
    keras_home: Path
    parent: int


def main(order: WorkerJob, pipe: Connection) -> None:
    """Train to the end; every outcome goes to the parent, as an error that people understand."""
    supervision.die_with(order.parent)
    # Nothing is forked; but as it was spawned, every lock would be a named semaphore, left behind
    # when it is killed.
    multiprocessing.set_start_method("fork", force=True)
    wire = MessagePipe(pipe)
    telemetry.configure_logs(sys.stderr, terminal=False)
    logging.getLogger().handlers = [LogRelay(wire)]
    stop = Stop()
    try:
        _train(order, wire, stop)
    except (Terminated, Exception) as error:  # noqa: BLE001 - the parent reports it, whatever it is.
        wire.send("ended", _understood(stop.explained(error)))
    else:
        wire.send("ended", None)


def _train(order: WorkerJob, wire: MessagePipe, stop: Stop) -> None:
    registry = storage.connect(order.settings.output.uri).child(order.settings.name)
    kept = pipeline.checkpoints(order.settings, registry, order.run_id)
    context = RunContext(
        RemoteTelemetry(wire), stop, order.keras_home, order.worker_group, member=True
    )
    pipeline.train(order.settings, context, order.data, publish.read_history(registry), kept)


def _understood(error: BaseException) -> Exception:
    """An operation between workers fails on all of them as soon as one is gone."""
    if isinstance(error, JobError):
        return error
    import tensorflow as tf

    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    )
    if isinstance(error, gone):
        reason = error.message.partition("\n")[0].rpartition("}} ")[
            2
        ]  # without the operation's name
        return TemporaryError(
            f"Another worker is gone, or cannot be reached: {reason}",
            "Start all workers again: they go on from the checkpoint.",
        )
    logging.getLogger(__name__).error("training failed", exc_info=error)
    return RuntimeError(f"{type(error).__name__}: {error}")
