"""The part of every batch that one worker takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: verbs that compute nothing do not wait for it.
    import numpy as np


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of every global batch that one worker takes.

    Attributes:
        index: which worker it is.
        workers: how many share a batch.
        devices: of each worker, which take equal parts of its shard.
    """

    index: int = 0
    workers: int = 1
    devices: int = 1

    def take(self, batches: "np.ndarray") -> "np.ndarray":
        """Cut this worker's rows out of global batches, in order.

        Args:
            batches: [steps, size, ...].

        Returns:
            [steps * devices, size / (workers * devices), ...]
        """
        rows_per_device = batches.shape[1] // (self.workers * self.devices)
        rows_per_worker = self.devices * rows_per_device
        first = self.index * rows_per_worker
        last = first + rows_per_worker
        own = batches[:, first:last]
        return own.reshape(-1, rows_per_device, *batches.shape[2:])


WHOLE = Shard()
