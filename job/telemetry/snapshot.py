"""What can be seen of a run at one instant: frozen values for the page and for Prometheus."""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from job.telemetry.events import EpochEnded, HeadSolved, LineLogged, Progressed, StageBegan

PhaseState = Literal["to come", "running", "done", "stopped"]

# Upper bounds of the histogram of step durations, in seconds.
STEP_BOUNDS_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of the pipeline. Numbers add up when it is entered again.

    Attributes:
        name: of the phase.
        state: whether it has begun, and how it ended.
        seconds: spent in it.
        images: processed in it.
        waited_seconds: that the devices waited for batches.
        used_seconds: that they worked on batches.
    """

    name: str
    state: PhaseState = "to come"
    seconds: float = 0.0
    images: int = 0
    waited_seconds: float = 0.0
    used_seconds: float = 0.0

    @property
    def input_wait(self) -> float | None:
        """The share of the time of its batches that was spent on waiting. None without batches."""
        total = self.waited_seconds + self.used_seconds
        return self.waited_seconds / total if total else None


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """How far the running phase is, counted in `unit`. `detail` names what is in work now."""

    done: int
    total: int
    unit: str
    detail: str = ""

    @property
    def ratio(self) -> float:
        """From 0 to 1. It is 0 where the total is not known."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def begins_again(self, event: Progressed) -> bool:
        """Whether an event begins a new count: of something else, or again after a full one."""
        if (self.unit, self.total) != (event.unit, event.total):
            return True
        return self.done >= self.total and event.done <= event.total / 2


@dataclass(frozen=True, slots=True)
class StepDurations:
    """How long the training steps took. The last of `counts` is above all STEP_BOUNDS_SECONDS."""

    counts: tuple[int, ...] = (0,) * (len(STEP_BOUNDS_SECONDS) + 1)
    seconds: float = 0.0
    loss: float | None = None

    def add(self, seconds: float, loss: float | None) -> "StepDurations":
        """The same with one more step."""
        counts = list(self.counts)
        counts[bisect.bisect_left(STEP_BOUNDS_SECONDS, seconds)] += 1
        newest_loss = self.loss if loss is None else loss
        return StepDurations(tuple(counts), self.seconds + seconds, newest_loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStateSnapshot:
    """The whole run at one instant.

    Times are seconds since 1970. `seconds_left` of the phase and `run_seconds_left` are None until
    they can be estimated. `stage` is the one that is trained by steps now. `solved` is the newest
    solved head, and `scores` are the newest ones of the training, of an epoch or of a head.
    `planned` is the last forecast before each phase began: seconds at most.
    """

    name: str
    started: float
    updated: float
    phases: tuple[Phase, ...] = ()
    progress: PhaseProgress | None = None
    seconds_left: float | None = None
    run_seconds_left: float | None = None
    images_per_second: float | None = None
    stage: StageBegan | None = None
    history: tuple[EpochEnded, ...] = ()
    solved: HeadSolved | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    steps: StepDurations = StepDurations()
    checkpointed: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    planned: Mapping[str, float] = field(default_factory=dict)
    lines: tuple[LineLogged, ...] = ()
    warnings: int = 0
    errors: int = 0
    outcome: Mapping[str, object] | None = None

    @property
    def status(self) -> str:
        """`running`, then the status of the result."""
        return str(self.outcome["status"]) if self.outcome else "running"

    @property
    def epoch(self) -> int:
        """The epoch of the stage that is in work, counted from 1. 0 without a stage."""
        if self.stage is None:
            return 0
        last = self.history[-1] if self.history else None
        done = last.epoch if last and last.stage == self.stage.stage else 0
        return min(max(done, self.stage.done) + 1, self.stage.epochs)

    @property
    def best(self) -> EpochEnded | None:
        """The best epoch of the stage so far."""
        if self.stage is None:
            return None
        name, metric = self.stage.stage, self.stage.metric
        epochs = [epoch for epoch in self.history if epoch.stage == name and metric in epoch.scores]
        # Of equals this is the first one.
        return max(epochs, key=lambda epoch: epoch.scores[metric], default=None)

    @property
    def running(self) -> str | None:
        """The phase that is running."""
        for phase in self.phases:
            if phase.state == "running":
                return phase.name
        return None

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each phase that was entered so far, by name."""
        return {phase.name: phase.seconds for phase in self.phases if phase.state != "to come"}

    @property
    def input_wait(self) -> dict[str, float]:
        """The share of time that the devices waited for input, by phase, where they had any."""
        shares = {}
        for phase in self.phases:
            if phase.input_wait is not None:
                shares[phase.name] = phase.input_wait
        return shares

    @property
    def forecast_ratio(self) -> dict[str, float]:
        """The forecast of each phase that is done, divided by what it took.

        `total` is that of all of them. Empty where nothing was forecast.
        """
        planned, took = 0.0, 0.0
        ratios = {}
        for phase in self.phases:
            seconds = self.planned.get(phase.name, 0.0)
            if phase.state == "done" and seconds > 0 and phase.seconds > 0:
                ratios[phase.name] = seconds / phase.seconds
                planned += seconds
                took += phase.seconds
        return {"total": planned / took, **ratios} if ratios else {}
