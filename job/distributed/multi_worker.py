"""The watching side: starts the process that computes with the other workers, and can end it.

TensorFlow waits for the others without a limit and without reacting to SIGTERM, and a process
cannot leave them again. So that process is watched and ended from here. Whatever comes of it, the
checkpoint in the bucket says how far training is.
"""

import logging
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from job.context import RunContext
from job.distributed import worker_process
from job.distributed.worker_messages import Message, MessageReceiver, WorkerJob
from job.errors import TemporaryError, WorkerLost

logger = logging.getLogger(__name__)

# Between two looks at the clock and at SIGTERM while no message comes.
POLL_SECONDS = 0.2
# What a process that has sent its last message may take to exit. Then it is killed.
EXIT_SECONDS = 10


def run_with_other_workers(
    job: WorkerJob, context: RunContext, is_done: Callable[[], bool], join_seconds: float
) -> None:
    """Run a job together with the other workers until it is done.

    Args:
        job: what each of the workers runs.
        context: of this process, which shows what the worker process sends.
        is_done: whether the bucket says that the work is done, by whichever worker.
        join_seconds: how long to wait for the others.

    Raises:
        WorkerLost: the others did not come in time, or one was lost.
        Interrupted: SIGTERM; all workers stop at the same step.
        WorkerStopped: SIGTERM at another worker.
        TemporaryError: the worker process was killed.
        JobError: whatever else ended the job.
    """
    if is_done():
        logger.info("training is over: nobody joins the others again")
        return
    group = context.worker_group
    logger.info("worker %d joins the others of %s", group.index, ", ".join(group.addresses))
    try:
        _watch_process(job, context, join_seconds)
    except TemporaryError:
        context.stop.check()
        if not is_done():  # the others may be gone because they are done
            raise


def _watch_process(job: WorkerJob, context: RunContext, join_seconds: float) -> None:
    """Start the worker process and show what it sends, until it has ended."""
    spawning = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    connection, its_end = spawning.Pipe(duplex=False)
    process = spawning.Process(
        target=worker_process.main, args=(job, its_end, os.getpid()), name="worker"
    )
    process.start()
    its_end.close()

    deadline = time.monotonic() + join_seconds
    receiver = MessageReceiver(context.telemetry)
    try:
        with context.stop.deferred():
            while not receiver.ended:
                if not receiver.joined and time.monotonic() > deadline:
                    group = context.worker_group
                    raise WorkerLost(
                        f"Not all of the {group.size} workers ({', '.join(group.addresses)}) were "
                        "there in time.",
                        "See why the others do not start. Where nodes take longer, raise "
                        "GRAFT_DEVICES_JOIN_SECONDS.",
                    )
                if context.stop.requested:
                    if not receiver.joined:
                        break  # it waits for the others and would not react
                    if process.is_alive():
                        process.terminate()  # it stops at the same step as the others
                if connection.poll(POLL_SECONDS):
                    receiver.receive(_receive_message(connection, process))
        process.join(EXIT_SECONDS)
    finally:
        receiver.close()
        process.kill()
        process.join()


def _receive_message(connection: Connection, process: BaseProcess) -> Message:
    try:
        message: Message = connection.recv()
    # A process that is killed while it sends leaves half a message.
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        process.join(EXIT_SECONDS)
        code = process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise TemporaryError(
            f"The process that trains with the other workers {how} without a last message.",
            "Start the run again: it goes on from its checkpoint. Signal 9 mostly means too little "
            "memory.",
        ) from error
    return message
