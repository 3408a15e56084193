"""What the events of a run add up to, for the page and for Prometheus.

One lock and no I/O: applying an event costs microseconds, and a slow reader never holds up a step.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from job.telemetry.events import (
    CheckpointSaved,
    EpochEnded,
    Event,
    FactsFound,
    HeadSolved,
    LineLogged,
    PhaseBegan,
    PhaseEnded,
    Progressed,
    RunEnded,
    StepTaken,
)
from job.telemetry.snapshot import Phase, PhaseProgress, RunStateSnapshot

# So many of the newest are kept: the state does not grow with the run.
EPOCHS_KEPT = 1_000
LINES_KEPT = 60


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
            phases=tuple(Phase(phase) for phase in phases),
        )
        self._running: str | None = None
        self._phase_began = clock()
        self._epoch_began = clock()
        self._pace = self._stage_pace = Pace(0, clock())
        # On `clock`: when the running phase and the running stage will end at this pace.
        self._phase_end: float | None = None
        self._stage_end: float | None = None

    def snapshot(self) -> RunStateSnapshot:
        """Everything at this instant, the seconds of the running phase included."""
        with self._lock:
            now = self._clock()
            return replace(
                self._snapshot,
                phases=tuple(self._up_to(now, phase) for phase in self._snapshot.phases),
                seconds_left=_seconds_until(self._phase_end, now),
                stage_seconds_left=_seconds_until(self._stage_end, now),
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
                    self._running = self._phase_end = self._stage_end = None
                    self._put_phase(replace(ended, state="stopped" if event.stopped else "done"))
                    self._change_snapshot(progress=None)
                case Progressed():
                    self._count_progress(event)
                case EpochEnded() | HeadSolved():
                    self._add_scores(event)
                case StepTaken():
                    self._change_snapshot(steps=self._snapshot.steps.add(event.seconds, event.loss))
                case CheckpointSaved():
                    self._change_snapshot(checkpointed=time.time())
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

    def _begin_phase(self, event: PhaseBegan) -> None:
        if self._running:
            raise RuntimeError(
                f"phase {event.phase!r} inside {self._running!r}: phases do not nest"
            )
        self._running = event.phase
        self._phase_began = self._epoch_began = self._clock()
        self._put_phase(replace(self._find_phase(event.phase), state="running"))

    def _count_progress(self, event: Progressed) -> None:
        now = self._clock()
        before = self._snapshot.progress
        if before is None or before.begins_again(event):
            before = PhaseProgress(0, event.total, event.unit)
            self._pace = Pace(event.done, now)
        # Threads may report out of order: the largest count holds.
        progress = PhaseProgress(max(event.done, before.done), event.total, event.unit)
        if event.unit == "images" and self._running:
            phase = self._find_phase(self._running)
            self._put_phase(replace(phase, images=phase.images + progress.done - before.done))
        self._phase_end = self._pace.estimate_end(progress.done, progress.total, now)
        self._change_snapshot(progress=progress)

    def _add_scores(self, event: EpochEnded | HeadSolved) -> None:
        now = self._clock()
        if isinstance(event, HeadSolved):
            # It is not an epoch: the pace of the epochs before it says nothing about what follows.
            self._stage_end = None
            self._epoch_began = now
            self._change_snapshot(solved=event, scores=event.scores)
            return
        history = self._snapshot.history
        last = history[-1] if history else None
        if last is None or last.stage != event.stage or event.epoch <= last.epoch:
            # A new stage, or one that was resumed in its middle: its pace is measured from here.
            self._stage_pace = Pace(event.epoch - 1, self._epoch_began)
        self._epoch_began = now
        self._stage_end = self._stage_pace.estimate_end(event.epoch, event.epochs, now)
        newest = (*history, event)[-EPOCHS_KEPT:]
        self._change_snapshot(history=newest, scores=event.scores)

    def _find_phase(self, name: str) -> Phase:
        for phase in self._snapshot.phases:
            if phase.name == name:
                return phase
        return Phase(name)

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
