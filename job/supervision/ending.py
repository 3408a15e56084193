"""How the working process ended, and the result of a run that it owes."""

import signal
from dataclasses import dataclass

from job import result
from job.errors import Interrupted
from job.result import Failure, Result

KILLED = "killed"
"""The kind of error of such a result."""
AGAIN = "Start the run again: it goes on from its checkpoint. If it ends like this again, report it with its log."
MEMORY = (
    "Mostly this means too little memory: raise resources.limits.memory, or lower GRAFT_TRAINING_BATCH_SIZE. "
    "Started again, the run goes on from its checkpoint."
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the working process ended.

    Attributes:
        code: its exit code; 128 + n after signal n.
        signal: the one that killed it, or 0.
        finished: whether the work came to its end, so that everything has been said.
        words: the last lines of native code that may explain it.
    """

    code: int
    signal: int
    finished: bool
    words: tuple[str, ...]

    @property
    def asked_for(self) -> bool:
        """Whether it was asked to stop, so that its death is no failure."""
        return self.signal in (signal.SIGTERM, signal.SIGINT)

    @property
    def outcome(self) -> Result:
        """The result of a run that ended like this before it had one."""
        if self.asked_for:
            return result.failed(
                KeyboardInterrupt() if self.signal == signal.SIGINT else Interrupted.by_sigterm()
            )
        cure = MEMORY if self.signal == signal.SIGKILL else AGAIN
        return Result(
            "failed",
            error=Failure(
                KILLED, f"{self.how}; expected a result.", cure, self.words, self.code or 1
            ),
        )

    @property
    def how(self) -> str:
        """The end in words."""
        if self.signal:
            return f"The working process was killed by signal {self.signal} ({signal.strsignal(self.signal)})"
        return f"The working process ended with exit code {self.code}"
