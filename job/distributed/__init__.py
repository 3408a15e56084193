"""Training by several workers: a process that computes with the others, and one that watches it.

This room is handed what to run. It knows neither the pipeline nor the model.
"""

from job.distributed.multi_worker import run_with_other_workers
from job.distributed.worker_messages import WorkerJob

__all__ = ["WorkerJob", "run_with_other_workers"]
