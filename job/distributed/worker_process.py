"""The process that computes with the other workers. Only `multi_worker` starts it."""

import logging
import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from job import supervision, telemetry
from job.context import RunContext
from job.distributed.worker_messages import (
    MessagePipe,
    RemoteLogHandler,
    RemoteTelemetry,
    WorkEnded,
    WorkerJob,
)
from job.errors import JobError, TemporaryError, WorkerLost
from job.workers import Stop, Terminated

if TYPE_CHECKING:
    from tensorflow.errors import OpError

logger = logging.getLogger(__name__)


def main(job: WorkerJob, connection: Connection, parent: int) -> None:
    """Run a job to its end. Every outcome goes to the parent, as an error for people."""
    supervision.die_with(parent)
    # A terminal sends them to this process as well. The parent decides when this one stops.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nothing is forked here. But since this process was spawned, every lock would be a named
    # semaphore, which is left behind when the process is killed.
    multiprocessing.set_start_method("fork", force=True)

    pipe = MessagePipe(connection)
    telemetry.configure_logs(sys.stderr, terminal=False)
    logging.getLogger().handlers = [RemoteLogHandler(pipe)]
    stop = Stop()
    context = RunContext(
        telemetry=RemoteTelemetry(pipe),
        stop=stop,
        keras_home=job.keras_home,
        worker_group=job.worker_group,
        joins_workers=True,
    )
    try:
        job.function(job.inputs, context)
    except (Terminated, Exception) as error:  # noqa: BLE001 - the parent reports it, whatever it is
        pipe.send(WorkEnded(_explain_failure(stop.explain(error))))
    else:
        pipe.send(WorkEnded(None))


def _explain_failure(error: BaseException) -> Exception:
    """The error for people. An operation between workers fails on all as soon as one is gone."""
    if isinstance(error, JobError):
        return error
    import tensorflow as tf

    cure = "Start all workers again: they go on from the checkpoint."
    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
    if isinstance(error, gone):
        reason = _shorten_message(error)
        return WorkerLost(f"Another worker is gone, or cannot be reached: {reason}", cure)
    # A broken GPU gives the same error on all workers. So it counts as this worker's own failure:
    # a Job that did not count it would never end.
    if isinstance(error, tf.errors.InternalError):
        reason = _shorten_message(error)
        return TemporaryError(f"An operation between the workers failed: {reason}", cure)
    logger.error("training failed", exc_info=error)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _shorten_message(error: "OpError") -> str:
    """The first line of TensorFlow's message, without the name of the operation."""
    first_line: str = error.message.partition("\n")[0]
    return first_line.rpartition("}} ")[2]
