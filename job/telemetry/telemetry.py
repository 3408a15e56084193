"""What the phases of a run talk to: it tells the page, Prometheus, the log and the terminal's progress bar."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Self, TextIO

from prometheus_client import CollectorRegistry

from job.settings import TelemetrySettings
from job.telemetry.bar import Bar
from job.telemetry.logs import RunStateHandler
from job.telemetry.metrics import register
from job.telemetry.push import push
from job.telemetry.run_state import RunState
from job.telemetry.server import Server
from job.telemetry.snapshot import Epoch, RunStateSnapshot

logger = logging.getLogger(__name__)

PROGRESS_LINE_SECONDS = 30.0
"""Between two lines of progress in the log; on a terminal there is a bar instead."""


class Telemetry:
    """Thread-safe, cheap to tell and never in the way: no reader of it can slow or fail a run.

    Args:
        state: the record of the run.
        server: shows the state while the run lives.
        push_url: Pushgateway for the outcome; empty pushes nothing.
        terminal: where to draw a progress bar; None draws none and logs a line of progress now and
            then.
    """

    def __init__(
        self,
        state: RunState,
        server: Server | None = None,
        push_url: str = "",
        terminal: TextIO | None = None,
    ) -> None:
        self.state = state
        self.server = server
        self._push_url = push_url
        self._bar = Bar(terminal) if terminal else None
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._began = time.monotonic()
        self._lines = RunStateHandler(state)
        if server:
            logging.getLogger("job").addHandler(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, and leave the log and the terminal as they were. Again is harmless."""
        logging.getLogger("job").removeHandler(self._lines)
        if self._bar:
            self._bar.clear()
        if self.server:
            self.server.close()
            self.server = None

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each phase entered so far, by name."""
        return {
            phase.name: phase.seconds
            for phase in self.state.snapshot().phases
            if phase.state != "to come"
        }

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside belongs to phase `name`; entered again, its seconds add up.

        Raises:
            RuntimeError: inside another phase.
        """
        self.state.begin(name)
        began, event = time.monotonic(), "stopped"
        self._announce(name)
        try:
            yield
            event = "done"
        finally:
            self.state.end(stopped=event == "stopped")
            if self._bar:
                self._bar.clear()
            seconds = round(time.monotonic() - began, 3)
            fields = {"phase": name, "event": event, "seconds": seconds}
            logger.info("%s %s after %.1f s", name, event, seconds, extra={"fields": fields})

    def progress(self, done: int, total: int, unit: str) -> None:
        """How far the running phase is: `done` of `total` things called `unit` (images, steps, bytes)."""
        self.state.progress(done, total, unit)
        view = self.state.snapshot() if self._bar or self._silent_for_long() else None
        if view and view.progress and view.running:
            if self._bar:
                self._bar.show(view.running, view.progress)
            else:
                _log_progress(view)

    def epoch(self, stage: str, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        """The end of `epoch` (from 1) of at most `epochs`. `val_…` scores belong to val, others to train."""
        scores = {name: float(score) for name, score in scores.items()}
        self.state.epoch(Epoch(stage, epoch, epochs, scores))
        told = "  ".join(f"{name} {score:.4g}" for name, score in scores.items())
        fields = {"stage": stage, "epoch": epoch, "epochs": epochs, "scores": scores}
        logger.info("%s: epoch %d of %d  %s", stage, epoch, epochs, told, extra={"fields": fields})

    def step(self, seconds: float, loss: float | None = None) -> None:
        """One training step took `seconds`; `loss` is the newest training loss."""
        self.state.step(seconds, loss)

    def checkpointed(self) -> None:
        """The state of the training is durable."""
        self.state.checkpointed()

    def facts(self, **facts: object) -> None:
        """Show what has been found out: numbers, texts and lists, under the names given."""
        self.state.facts(facts)

    def outcome(self, result: Mapping[str, object]) -> None:
        """How the run ended, as `Result.as_dict()`: for the page, and for the Pushgateway if there is one."""
        self.state.outcome(result)
        if self._push_url:
            push(self._push_url, self.state.snapshot().name, result, time.monotonic() - self._began)

    def _announce(self, phase: str) -> None:
        """On a terminal the bar says it and goes again; a log needs a line."""
        if self._bar:
            self._bar.begin(phase)
        else:
            logger.info("%s begins", phase, extra={"fields": {"phase": phase, "event": "begins"}})
        self._said = time.monotonic()

    def _silent_for_long(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._said < PROGRESS_LINE_SECONDS:
                return False
            self._said = now
            return True


def serve(
    settings: TelemetrySettings,
    name: str,
    phases: Sequence[str] = (),
    terminal: TextIO | None = None,
    registry: CollectorRegistry | None = None,
) -> Telemetry:
    """Telemetry of the run of model `name`, served on `settings.port`; a port that is busy costs a warning.

    Args:
        settings: address, and the Pushgateway if there is one; port 0 serves nothing.
        name: the model's name.
        phases: in the order of the work, for the page; others are appended as they come.
        terminal: where to draw a progress bar, if a person watches.
        registry: where the metrics are registered; by default one of its own.
    """
    state, registry = RunState(name, phases), registry or CollectorRegistry()
    register(state, registry)
    return Telemetry(state, _listen(state, registry, settings), settings.push_url, terminal)


def silent() -> Telemetry:
    """Telemetry that serves nothing: for the quick verbs and for tests."""
    return Telemetry(RunState(""))


def _listen(
    state: RunState, registry: CollectorRegistry, settings: TelemetrySettings
) -> Server | None:
    if not settings.port:
        return None
    try:
        return Server(state, registry, settings.host, settings.port)
    except OSError as error:
        cause = error.strerror or error
        logger.warning("port %d serves no metrics and no live page: %s", settings.port, cause)
        return None


def _log_progress(view: RunStateSnapshot) -> None:
    assert view.progress is not None
    progress, left = view.progress, view.seconds_left
    fields = {
        "phase": view.running,
        "done": progress.done,
        "total": progress.total,
        "seconds_left": left,
    }
    told = (
        ""
        if left is None
        else f", about {left / 60:.0f} min left"
        if left >= 60
        else ", less than a minute left"
    )
    counts = f"{progress.done:,} of {progress.total:,} {progress.unit}"
    logger.info("%s: %s%s", view.running, counts, told, extra={"fields": fields})
