"""Which worker am I: the devices of this process, the strategy over them, and the request to stop.

TensorFlow is imported inside `join`, so that whoever only needs `Stop` or `Crew` does not pay for it.
"""

from job.workers.crew import ALONE, Crew
from job.workers.devices import Precision, Workers, join
from job.workers.stop import Stop, Terminated

__all__ = ["ALONE", "Crew", "Precision", "Stop", "Terminated", "Workers", "join"]
