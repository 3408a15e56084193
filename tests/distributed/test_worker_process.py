"""Whose fault the end of a worker process was, which decides whether a Job counts it."""

import multiprocessing
import os
import pickle
import struct

import pytest
import tensorflow as tf

from job.distributed import multi_worker, worker_process
from job.distributed.worker_messages import WorkEnded
from job.errors import DivergedError, JobError, TemporaryError, WorkerStopped

OPERATION = "{{function_node __wrapped__CollectiveReduceV2}} "


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (tf.errors.UnavailableError, 76),
        (tf.errors.AbortedError, 76),
        (tf.errors.CancelledError, 76),
        (tf.errors.InternalError, 75),
    ],
)
def test_only_the_loss_of_another_worker_has_its_own_exit_code(
    error: type[tf.errors.OpError], exit_code: int
) -> None:
    explained = worker_process._explain_failure(error(None, None, f"{OPERATION}Socket closed\nx"))
    assert isinstance(explained, JobError)
    assert explained.exit_code == exit_code
    assert explained.message.endswith(": Socket closed")


@pytest.mark.parametrize("error", [WorkerStopped.by_another(), DivergedError("NaN", "Lower it.")])
def test_an_error_for_people_passes_the_pipe_as_it_is(error: JobError) -> None:
    received = pickle.loads(pickle.dumps(WorkEnded(worker_process._explain_failure(error))))
    assert (type(received.error), str(received.error)) == (type(error), str(error))


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        struct.pack("!i", 1000) + b"half",
        struct.pack("!i", 4) + b"junk",
    ],
    ids=["nothing", "half a message", "a message that is not one"],
)
def test_a_process_that_dies_while_it_sends_is_worth_another_try(torn: bytes) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    os.write(theirs.fileno(), torn)
    theirs.close()
    with pytest.raises(TemporaryError, match="without a last message"):
        multi_worker._receive_message(ours, process)
