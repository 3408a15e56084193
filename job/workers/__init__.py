"""The devices of this process, the strategy over them and the other workers, and the stop request.

TensorFlow is imported inside `join`: a process that only needs `Stop` or `WorkerGroup` does not
load it.
"""

from job.workers.devices import Workers, join
from job.workers.shard import WHOLE, Shard
from job.workers.stop import Stop, Terminated
from job.workers.worker_group import SINGLE_WORKER, WorkerGroup

__all__ = [
    "SINGLE_WORKER",
    "WHOLE",
    "Shard",
    "Stop",
    "Terminated",
    "WorkerGroup",
    "Workers",
    "join",
]
