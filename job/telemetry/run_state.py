"""What the events of a run add up to, for the page and for Prometheus.

One lock and no I/O: applying an event costs microseconds, and a slow reader never holds up a step.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from job.telemetry.events import (
    BatchUsed,
    CheckpointSaved,
    EpochEnded,
    Event,
    FactsFound,
    HeadSolved,
    HistoryRestored,
    LineLogged,
    PhaseBegan,
    PhaseEnded,
    Progressed,
    RunEnded,
    StageBegan,
    StepTaken,
    WorkForecast,
)
from job.telemetry.snapshot import Phase, PhaseProgress, RunStateSnapshot

# So many of the newest are kept: the state does not grow with the run.
EPOCHS_KEPT = 1_000
LINES_KEPT = 60
# The speed of the training is that of the last steps: the first one of a stage builds a graph.
STEPS_TIMED = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """Since when something is being counted, and from which count on."""

    done: int
    began: float

    def estimate_end(self, done: int, total: int, now: float) -> float | None:
        """When `total` will be reached at the speed so far. None before anything was done."""
        if done <= self.done:
            return None
        seconds_each = (now - self.began) / (done - self.done)
        return now + seconds_each * max(0, total - done)

    def measure_speed(self, done: int, now: float) -> float | None:
        """Things per second so far. None before anything was done."""
        if done <= self.done or now <= self.began:
            return None
        return (done - self.done) / (now - self.began)


class RunState:
    """The state of one run. Thread-safe.

    Args:
        name: the model's name.
        phases: in the order of the work. A phase that is not among them is appended as it comes.
        clock: measures durations, in seconds.
    """

    def __init__(
        self, name: str, phases: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._snapshot = RunStateSnapshot(
            name=name,
            started=time.time(),
            updated=time.time(),
            phases=tuple(Phase(name=phase) for phase in phases),
        )
        self._running: str | None = None
        self._phase_began = clock()
        self._pace = Pace(0, clock())
        # On `clock`: when the running phase will end at this pace.
        self._phase_end: float | None = None
        self._steps: deque[StepTaken] = deque(maxlen=STEPS_TIMED)
        self._forecast = WorkForecast({})

    def snapshot(self) -> RunStateSnapshot:
        """Everything at this instant, the seconds of the running phase included."""
        with self._lock:
            now = self._clock()
            return replace(
                self._snapshot,
                phases=tuple(self._up_to(now, phase) for phase in self._snapshot.phases),
                seconds_left=_seconds_until(self._phase_end, now),
                run_seconds_left=self._estimate_run(now),
                images_per_second=self._measure_speed(now),
            )

    def apply(self, event: Event) -> None:
        """Take an event into account.

        Raises:
            RuntimeError: a phase begins inside another one.
        """
        with self._lock:
            match event:
                case PhaseBegan():
                    self._begin_phase(event)
                case PhaseEnded():
                    ended = self._up_to(self._clock(), self._find_phase(event.phase))
                    self._running = self._phase_end = None
                    self._steps.clear()
                    self._put_phase(replace(ended, state="stopped" if event.stopped else "done"))
                    self._change_snapshot(progress=None, stage=None)
                case Progressed():
                    self._count_progress(event)
                case WorkForecast():
                    self._change_snapshot(planned=self._plan_phases(event))
                    seconds = {**self._forecast.seconds, **event.seconds}
                    self._forecast = WorkForecast(seconds, event.races)
                case FactsFound():
                    self._change_snapshot(facts={**self._snapshot.facts, **event.facts})
                case LineLogged():
                    self._change_snapshot(
                        lines=(*self._snapshot.lines, event)[-LINES_KEPT:],
                        warnings=self._snapshot.warnings + (event.level == "warning"),
                        errors=self._snapshot.errors + (event.level == "error"),
                    )
                case RunEnded():
                    self._change_snapshot(outcome=dict(event.result))
                case _:
                    self._follow_training(event)

    def _follow_training(self, event: Event) -> None:
        match event:
            case StageBegan():
                self._phase_end = None  # that of another count
                self._change_snapshot(stage=event)
            case EpochEnded():
                newest = (*self._snapshot.history, event)[-EPOCHS_KEPT:]
                self._change_snapshot(history=newest, scores=event.scores)
            case HeadSolved():
                self._change_snapshot(solved=event, scores=event.scores)
            case HistoryRestored():
                self._restore_history(event)
            case BatchUsed():
                self._count_batch(event)
            case StepTaken():
                self._count_batch(event)
                self._steps.append(event)
                self._change_snapshot(steps=self._snapshot.steps.add(event.seconds, event.loss))
            case CheckpointSaved():
                self._change_snapshot(checkpointed=time.time())

    def _begin_phase(self, event: PhaseBegan) -> None:
        if self._running:
            raise RuntimeError(
                f"phase {event.phase!r} inside {self._running!r}: phases do not nest"
            )
        self._running = event.phase
        self._phase_began = self._clock()
        self._put_phase(replace(self._find_phase(event.phase), state="running"))

    def _count_progress(self, event: Progressed) -> None:
        now = self._clock()
        before = self._snapshot.progress
        if before is None or before.begins_again(event):
            before = PhaseProgress(0, event.total, event.unit)
            self._pace = Pace(event.done, now)
        # Threads may report out of order: the largest count holds.
        done = max(event.done, before.done)
        progress = PhaseProgress(done, event.total, event.unit, event.detail)
        if event.unit == "images" and self._running:
            phase = self._find_phase(self._running)
            self._put_phase(replace(phase, images=phase.images + progress.done - before.done))
        self._phase_end = self._pace.estimate_end(progress.done, progress.total, now)
        self._change_snapshot(progress=progress)

    def _count_batch(self, event: BatchUsed | StepTaken) -> None:
        """Add what a batch took to the running phase."""
        if not self._running:
            return
        phase = self._find_phase(self._running)
        waited = phase.waited_seconds + event.waited
        used = phase.used_seconds + event.seconds
        self._put_phase(replace(phase, waited_seconds=waited, used_seconds=used))

    def _plan_phases(self, event: WorkForecast) -> dict[str, float]:
        """What is expected of each phase. For one that has begun it stays what it was."""
        begun, expected = self._snapshot.seconds, event.seconds
        to_come = {phase: expected[phase] for phase in expected if phase not in begun}
        return {**self._snapshot.planned, **to_come}

    def _restore_history(self, event: HistoryRestored) -> None:
        """Take over the history of a checkpoint. What was known of it before is part of it."""
        last = event.epochs[-1] if event.epochs else event.solved
        scores = last.scores if last else self._snapshot.scores
        self._change_snapshot(
            history=event.epochs[-EPOCHS_KEPT:],
            solved=event.solved,
            scores=scores,
            # Another process has done a part of the work.
            planned={},
        )

    def _estimate_run(self, now: float) -> float | None:
        """Seconds until the run ends at most: by the forecast, and by the pace that was measured.

        None without a forecast, or at the end.
        """
        forecast = self._forecast
        if not forecast.seconds or self._snapshot.outcome:
            return None
        left = 0.0
        for phase in self._snapshot.phases:
            planned = forecast.seconds.get(phase.name, 0.0)
            if phase.state == "to come":
                left += planned
            elif phase.name == self._running:
                planned = max(0.0, planned - (now - self._phase_began))
                paced = _seconds_until(self._phase_end, now)
                if paced is None:
                    left += planned
                elif self._snapshot.stage and not forecast.races:
                    # The stage is the rest of the phase, and its pace is measured.
                    left += paced
                else:
                    left += max(planned, paced)
        return left

    def _measure_speed(self, now: float) -> float | None:
        """Images per second of the running phase. None where no images are counted."""
        progress = self._snapshot.progress
        if progress and progress.unit == "images":
            return self._pace.measure_speed(progress.done, now)
        seconds = sum(step.seconds for step in self._steps)
        images = sum(step.images for step in self._steps)
        return images / seconds if images and seconds else None

    def _find_phase(self, name: str) -> Phase:
        for phase in self._snapshot.phases:
            if phase.name == name:
                return phase
        return Phase(name=name)

    def _up_to(self, now: float, phase: Phase) -> Phase:
        """A phase with its seconds so far, if it is the one that runs."""
        if phase.name != self._running:
            return phase
        return replace(phase, seconds=phase.seconds + now - self._phase_began)

    def _put_phase(self, phase: Phase) -> None:
        phases = {known.name: known for known in self._snapshot.phases}
        phases[phase.name] = phase
        self._change_snapshot(phases=tuple(phases.values()))

    def _change_snapshot(self, **changes: Any) -> None:
        self._snapshot = replace(self._snapshot, updated=time.time(), **changes)


def _seconds_until(end: float | None, now: float) -> float | None:
    return None if end is None else max(0.0, end - now)
