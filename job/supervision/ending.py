"""How the working process ended, and the result of a run that it could not report itself."""

import signal
from dataclasses import dataclass

from job import result
from job.errors import STOP_SIGNALS, Interrupted
from job.result import Failure, Result

# The kind of error of such a result.
KILLED = "killed"
RETRY = (
    "Start the run again: it goes on from its checkpoint. If it ends like this again, report it "
    "with its log."
)
MORE_MEMORY = (
    "Mostly this means too little memory: raise resources.limits.memory, or lower "
    "GRAFT_TRAINING_BATCH_SIZE. Started again, the run goes on from its checkpoint."
)
GO_ON = (
    "Start the run again: it goes on from its last checkpoint. What came after that is done again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the working process ended.

    Attributes:
        code: its exit code; 128 + n after signal n.
        signal: the one that killed it, or 0.
        finished: whether the work came to its end, so that everything has been reported.
        last_lines: the last lines of native code that may explain the end.
        cut_off: whether a second Ctrl-C ended it at once.
    """

    code: int
    signal: int
    finished: bool
    last_lines: tuple[str, ...]
    cut_off: bool = False

    @property
    def requested(self) -> bool:
        """Whether the process was asked to stop, so that its end is not a failure."""
        return self.cut_off or self.signal in STOP_SIGNALS

    @property
    def outcome(self) -> Result:
        """The result of a run that ended like this before it had one."""
        if self.cut_off:
            return result.failed(Interrupted(f"{self.description}.", GO_ON))
        if self.requested:
            return result.failed(Interrupted.by_signal(self.signal))
        failure = Failure(
            kind=KILLED,
            message=f"{self.description}; expected a result.",
            cure=MORE_MEMORY if self.signal == signal.SIGKILL else RETRY,
            problems=self.last_lines,
            exit_code=self.code or 1,
        )
        return Result(status="failed", error=failure)

    @property
    def description(self) -> str:
        """The end in words."""
        if self.cut_off:
            return "A second SIGINT (Ctrl-C) ended the work at once"
        if self.signal:
            name = signal.strsignal(self.signal)
            return f"The working process was killed by signal {self.signal} ({name})"
        return f"The working process ended with exit code {self.code}"
