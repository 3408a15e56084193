"""Training by several workers. Each has a process that joins the others, and one outside of it: this one.

TensorFlow waits for the others without a limit and deaf to SIGTERM, and cannot leave them again. So
the joining process is watched and ended from here; whatever comes of it, the state in the bucket
says how far training is.
"""

import logging
import multiprocessing
import os
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from job import publish
from job.checkpoint import CheckpointStore
from job.dataset import Dataset
from job.errors import TemporaryError
from job.pipeline.context import RunContext
from job.pipeline.relay import WorkerListener
from job.release import Manifest
from job.settings import Settings
from job.storage import Store

if TYPE_CHECKING:
    from job.pipeline.member import WorkerJob

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.2
"""Between two looks at the clock and at SIGTERM while nothing is told."""
ENDING_SECONDS = 10
"""For a member that has said its last word; then it is ended."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
PATIENCE_SECONDS = 6 * 3600
"""Longer than any evaluation and export, with the chief's restarts."""


def train(
    settings: Settings, context: RunContext, data: Dataset, run_id: str, kept: CheckpointStore
) -> None:
    """Train with the other workers until the bucket holds a state that says training is over.

    Raises:
        TemporaryError: the others did not come in time, or one was lost.
        Interrupted: SIGTERM, here or at another worker; all stop at the same step.
        JobError: whatever ended the training.
    """
    if kept.over():
        logger.info("training is over: nobody joins the others again")
        return
    from job.pipeline.member import WorkerJob

    logger.info(
        "worker %d joins the others of %s",
        context.worker_group.index,
        ", ".join(context.worker_group.addresses),
    )
    order = WorkerJob(settings, context.worker_group, data, run_id, context.keras_home, os.getpid())
    try:
        _follow(order, context, settings.devices.join_seconds)
    except TemporaryError:
        context.stop.check()
        if not kept.over():  # The others may be gone because they are done.
            raise


def _follow(order: "WorkerJob", context: RunContext, join_seconds: float) -> None:
    """Start the joining process, and do here what it tells."""
    from job.pipeline import member

    spawning = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pipe, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=member.main, args=(order, theirs), name="member")
    process.start()
    theirs.close()
    deadline = time.monotonic() + join_seconds
    try:
        with ExitStack() as phases, context.stop.deferred():
            follower = WorkerListener(context.telemetry, phases)
            while not follower.trained and not _cut_short(follower, process, context, deadline):
                if pipe.poll(LOOK_SECONDS):
                    follower.hear(*_word(pipe, process))
        process.join(ENDING_SECONDS)
    finally:
        process.kill()
        process.join()


def _cut_short(
    follower: WorkerListener, process: BaseProcess, context: RunContext, deadline: float
) -> bool:
    """Whether SIGTERM ends the wait for the others; later it is passed on, and the member stops with them."""
    if not follower.together and time.monotonic() > deadline:
        raise TemporaryError(
            f"Not all of the {context.worker_group.size} workers ({', '.join(context.worker_group.addresses)}) were there in time.",
            "See why the others do not start. Where nodes take longer, raise GRAFT_DEVICES_JOIN_SECONDS.",
        )
    if context.stop.requested and follower.together and process.is_alive():
        process.terminate()
    return context.stop.requested and not follower.together


def _word(pipe: Connection, process: BaseProcess) -> tuple[str, tuple[object, ...]]:
    try:
        word: tuple[str, tuple[object, ...]] = pipe.recv()
    except (EOFError, ConnectionError) as error:
        process.join(ENDING_SECONDS)
        code = process.exitcode or 0
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise TemporaryError(
            f"The process that trains with the other workers {ended} without a word.",
            "Start the run again: it goes on from its checkpoint. Signal 9 mostly means too little memory.",
        ) from error
    return word


def awaited(registry: Store, run_id: str, context: RunContext) -> Manifest:
    """The manifest of the release that the chief publishes.

    Raises:
        TemporaryError: there is none after many hours.
    """
    with context.phase("release"):
        logger.info("training is over: waiting for the chief's release")
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
        while not (manifest := publish.find(registry, run_id)):
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"The chief released nothing in {PATIENCE_SECONDS // 3600} hours.",
                    "See how worker 0 ended.",
                )
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return manifest
