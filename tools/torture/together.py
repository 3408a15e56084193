"""Several workers of one run in a world: they meet, compute step by step together, and lose others.

What stands here is the process that computes with the others, and the network between them. The
rest is real: when a worker joins, whether training is over, what a lost worker means for the rest,
and how they wait for the release of the chief.
"""

import hashlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from job.context import RunContext
from job.errors import WorkerLost
from job.workers import Stop, Terminated
from tools.torture.scheduler import Process, Scheduler


class Round:
    """The workers that compute together from one start to the loss or the end of one of them."""

    def __init__(self, members: Sequence[Process]) -> None:
        self.members = members
        self._values: list[dict[str, Any]] = []
        self._asked: dict[str, int] = {}

    def exchange(self, process: Process, value: Any) -> list[Any]:
        """Give a value to all workers, and wait for theirs.

        Raises:
            WorkerLost: one of them is gone.
        """
        number = self._asked.get(process.name, 0)
        self._asked[process.name] = number + 1
        if number == len(self._values):
            self._values.append({})
        values = self._values[number]
        values[process.name] = value
        while len(values) < len(self.members):
            for other in self.members:
                if other.name not in values and (other.ended or not other.alive):
                    raise WorkerLost(
                        "Another worker is gone, or cannot be reached.", "Start again."
                    )
            time.sleep(1)
        return list(values.values())


@dataclass(slots=True, kw_only=True)
class Meeting:
    """Where the workers of one run find each other.

    Attributes:
        scheduler: of the world.
        size: how many workers there are.
    """

    scheduler: Scheduler
    size: int
    _waiting: dict[int, Process] = field(default_factory=dict)
    _rounds: dict[str, Round] = field(default_factory=dict)

    def find_round(self, process: Process) -> Round:
        """The round in which a process computes."""
        return self._rounds[process.name]

    def join(self, index: int, stop: Stop, seconds: float) -> Round | None:
        """Wait for all workers. None if this one is asked to stop meanwhile.

        Raises:
            WorkerLost: the others did not come in time.
        """
        process = self.scheduler.current
        assert process
        self._waiting[index] = process
        deadline = time.monotonic() + seconds
        while process.name not in self._rounds:
            present = [each for each in self._waiting.values() if each.alive and not each.ended]
            if len(present) == self.size:
                meeting = Round(present)
                self._rounds |= {each.name: meeting for each in present}
                self._waiting.clear()
                break
            if stop.requested or time.monotonic() > deadline:
                del self._waiting[index]
                if stop.requested:
                    return None
                raise WorkerLost(f"Not all of the {self.size} workers were there.", "Start again.")
            time.sleep(1)
        return self._rounds[process.name]

    def train(self, job: Any, context: RunContext, join_seconds: float) -> None:
        """What `job.distributed` does in a process of its own, with the same signals."""
        process = self.scheduler.current
        assert process
        stop, hear = Stop(), process.on_signal

        def hear_too() -> None:
            if hear:
                hear()
            stop._on_signal(signal.SIGTERM, None)

        with context.stop.deferred():
            if self.join(context.worker_group.index, context.stop, join_seconds) is None:
                return
            process.on_signal = hear_too
            try:
                job.function(job.inputs, replace(context, stop=stop, joins_workers=True))
            except (Terminated, Exception) as error:
                raise stop.explain(error) from error
            finally:
                process.on_signal = hear


@dataclass(kw_only=True)
class JoinedWorkers:
    """The part of `job.workers.Workers` by which workers agree, over a round of this world.

    Attributes:
        round: None for a worker that computes alone.
        process: of this worker.
    """

    round: Round | None = None
    process: Process | None = None

    def any(self, flag: bool) -> bool:
        """Whether at least one worker wishes it."""
        return any(self._exchange(flag))

    def wait(self) -> None:
        """Until all workers are here."""
        self._exchange(False)

    def agree(self, text: str) -> bool:
        """Whether all workers pass the same text."""
        return len(set(self._exchange(hashlib.sha256(text.encode()).hexdigest()))) == 1

    def _exchange(self, value: Any) -> list[Any]:
        if self.round is None or self.process is None:
            return [value]
        return self.round.exchange(self.process, value)
