"""The record of the run: written by the phases, read by the page and by Prometheus.

One lock and no I/O, so that telling it something costs microseconds and a slow reader never holds
up a step.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from job.telemetry.snapshot import Epoch, Line, Phase, PhaseProgress, RunStateSnapshot

EPOCHS_KEPT = 1_000
LINES_KEPT = 60


@dataclass(frozen=True, slots=True)
class Pace:
    """Since when, and from where on, something is being counted."""

    done: int
    began: float

    def due(self, done: int, total: int, now: float) -> float | None:
        """When `total` will be reached at the speed so far; None before anything was done."""
        if done <= self.done:
            return None
        return now + (now - self.began) / (done - self.done) * max(0, total - done)


class RunState:
    """Thread-safe. `snapshot()` is a consistent copy of everything; `clock` measures durations in seconds."""

    def __init__(
        self, name: str, phases: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._snapshot = RunStateSnapshot(
            name, started=time.time(), updated=time.time(), phases=tuple(map(Phase, phases))
        )
        self._running: tuple[str, float] | None = None
        self._pace = self._stage_pace = Pace(0, clock())
        self._due: float | None = None
        self._stage_due: float | None = None
        self._last_epoch = clock()

    def snapshot(self) -> RunStateSnapshot:
        """Everything at this instant, the seconds of the running phase included."""
        with self._lock:
            now = self._clock()
            return replace(
                self._snapshot,
                phases=tuple(self._until(now, phase) for phase in self._snapshot.phases),
                seconds_left=None if self._due is None else max(0.0, self._due - now),
                stage_seconds_left=None
                if self._stage_due is None
                else max(0.0, self._stage_due - now),
            )

    def begin(self, phase: str) -> None:
        """Enter `phase`; one that nobody announced is appended to the list.

        Raises:
            RuntimeError: inside another phase.
        """
        with self._lock:
            if self._running:
                raise RuntimeError(
                    f"phase {phase!r} inside {self._running[0]!r}: phases do not nest"
                )
            now = self._last_epoch = self._clock()
            self._running = (phase, now)
            self._put(replace(self._phase(phase), state="running"))

    def end(self, *, stopped: bool = False) -> None:
        """Leave the running phase, `stopped` by an error or at its end."""
        with self._lock:
            assert self._running is not None
            left = self._until(self._clock(), self._phase(self._running[0]))
            self._running = self._due = self._stage_due = None
            self._put(replace(left, state="stopped" if stopped else "done"), progress=None)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Note how far the running phase is. Threads may report out of order: the largest `done` of a count holds."""
        with self._lock:
            now, before = self._clock(), self._snapshot.progress
            if before is None or before.followed_by(done, total, unit):
                self._pace, before = Pace(done, now), PhaseProgress(0, total, unit)
            progress = PhaseProgress(max(done, before.done), total, unit)
            if unit == "images" and self._running:
                phase = self._phase(self._running[0])
                self._put(replace(phase, images=phase.images + progress.done - before.done))
            self._due = self._pace.due(progress.done, total, now)
            self._change(progress=progress)

    def epoch(self, epoch: Epoch) -> None:
        """Add the end of an epoch to the history."""
        with self._lock:
            now, history = self._clock(), self._snapshot.history
            if not history or history[-1].stage != epoch.stage or epoch.epoch <= history[-1].epoch:
                self._stage_pace = Pace(epoch.epoch - 1, self._last_epoch)
            self._last_epoch = now
            self._stage_due = self._stage_pace.due(epoch.epoch, epoch.epochs, now)
            self._change(history=(*history, epoch)[-EPOCHS_KEPT:])

    def step(self, seconds: float, loss: float | None) -> None:
        """Count a training step."""
        with self._lock:
            self._change(steps=self._snapshot.steps.plus(seconds, loss))

    def checkpointed(self) -> None:
        """The state of the training is durable as of now."""
        with self._lock:
            self._change(checkpointed=time.time())

    def facts(self, facts: Mapping[str, object]) -> None:
        """Add to what is known of the run."""
        with self._lock:
            self._change(facts={**self._snapshot.facts, **facts})

    def line(self, line: Line) -> None:
        """Add a line of the log, and count it if it is a warning or an error."""
        with self._lock:
            self._change(
                lines=(*self._snapshot.lines, line)[-LINES_KEPT:],
                warnings=self._snapshot.warnings + (line.level == "warning"),
                errors=self._snapshot.errors + (line.level == "error"),
            )

    def outcome(self, result: Mapping[str, object]) -> None:
        """How the run ended."""
        with self._lock:
            self._change(outcome=dict(result))

    def _phase(self, name: str) -> Phase:
        return next((phase for phase in self._snapshot.phases if phase.name == name), Phase(name))

    def _until(self, now: float, phase: Phase) -> Phase:
        if not self._running or self._running[0] != phase.name:
            return phase
        return replace(phase, seconds=phase.seconds + now - self._running[1])

    def _put(self, phase: Phase, **changes: Any) -> None:
        phases = {known.name: known for known in self._snapshot.phases} | {phase.name: phase}
        self._change(phases=tuple(phases.values()), **changes)

    def _change(self, **changes: Any) -> None:
        self._snapshot = replace(self._snapshot, updated=time.time(), **changes)
