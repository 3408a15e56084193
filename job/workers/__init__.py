"""Which worker am I: the devices of this process, the strategy over them, and the request to stop.

TensorFlow is imported inside `join`, so that whoever only needs `Stop` or `WorkerGroup` does not
pay for it.
"""

from job.workers.devices import Workers, join
from job.workers.stop import Stop, Terminated
from job.workers.worker_group import SINGLE_WORKER, WorkerGroup

__all__ = ["SINGLE_WORKER", "Stop", "Terminated", "WorkerGroup", "Workers", "join"]
