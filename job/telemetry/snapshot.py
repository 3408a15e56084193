"""What can be seen of a run at one instant: the frozen values that the page and Prometheus are made from."""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["to come", "running", "done", "stopped"]

STEP_BOUNDS_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the pipeline. `seconds` and `images` add up when it is entered again."""

    name: str
    state: State = "to come"
    seconds: float = 0.0
    images: int = 0


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """How far the running phase is, counted in `unit`."""

    done: int
    total: int
    unit: str

    @property
    def ratio(self) -> float:
        """From 0 to 1; 0 where the total is not known."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def followed_by(self, done: int, total: int, unit: str) -> bool:
        """Whether this begins a new count: of something else, or again after a full one."""
        again = self.done >= self.total and done <= total / 2
        return (self.unit, self.total) != (unit, total) or again


@dataclass(frozen=True, slots=True)
class Epoch:
    """The end of an epoch (counted from 1) of a stage, with the scores measured there."""

    stage: str
    epoch: int
    epochs: int
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Steps:
    """Durations of the training steps so far; the last of `counts` is for all above STEP_BOUNDS_SECONDS."""

    counts: tuple[int, ...] = (0,) * (len(STEP_BOUNDS_SECONDS) + 1)
    seconds: float = 0.0
    loss: float | None = None

    def plus(self, seconds: float, loss: float | None) -> "Steps":
        """With one step more."""
        place = bisect.bisect_left(STEP_BOUNDS_SECONDS, seconds)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Steps(counts, self.seconds + seconds, self.loss if loss is None else loss)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log: seconds since 1970, `info`, `warning` or `error`, and the message alone."""

    time: float
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class RunStateSnapshot:
    """The whole run at one instant. Times are seconds since 1970; `…seconds_left` is None until it can be told."""

    name: str
    started: float
    updated: float
    phases: tuple[Phase, ...] = ()
    progress: PhaseProgress | None = None
    seconds_left: float | None = None
    stage_seconds_left: float | None = None
    history: tuple[Epoch, ...] = ()
    steps: Steps = Steps()
    checkpointed: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    warnings: int = 0
    errors: int = 0
    outcome: Mapping[str, object] | None = None

    @property
    def status(self) -> str:
        """`running`, then the status of the result."""
        return str(self.outcome["status"]) if self.outcome else "running"

    @property
    def running(self) -> str | None:
        """The phase that is running."""
        return next((phase.name for phase in self.phases if phase.state == "running"), None)
