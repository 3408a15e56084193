"""How long devices wait for their input."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from job.telemetry.events import BatchUsed
from job.telemetry.telemetry import Telemetry

Batch = TypeVar("Batch")


def time_input(batches: Iterable[Batch], telemetry: Telemetry) -> Iterator[Batch]:
    """Pass batches on, and tell how long each was waited for and used.

    A batch is used until the next one is asked for. So the results of a batch must have come by
    then, or the devices are still at work while they seem to wait.
    """
    remaining = iter(batches)
    while True:
        began = time.monotonic()
        try:
            batch = next(remaining)
        except StopIteration:
            return
        arrived = time.monotonic()
        yield batch
        telemetry.emit(BatchUsed(time.monotonic() - arrived, arrived - began))
