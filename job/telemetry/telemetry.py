"""What the phases of a run talk to, and where that is shown: page, Prometheus, log, terminal."""

import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Self, TextIO

from prometheus_client import CollectorRegistry

from job.settings import TelemetrySettings
from job.telemetry.events import (
    EpochEnded,
    Event,
    HeadSolved,
    PhaseBegan,
    PhaseEnded,
    Progressed,
    RunEnded,
    StageBegan,
)
from job.telemetry.logs import RunStateHandler
from job.telemetry.metrics import register
from job.telemetry.push import push
from job.telemetry.run_state import RunState
from job.telemetry.server import EVERY_ADDRESS, Server
from job.telemetry.snapshot import RunStateSnapshot
from job.telemetry.webhook import RunFinished, post

if TYPE_CHECKING:
    from job.telemetry.bar import Bar

logger = logging.getLogger(__name__)

# Between two lines of progress in the log. On a terminal it is always shown.
PROGRESS_LINE_SECONDS = 30.0
# Where a person sits at the machine, nobody else needs the page.
LOOPBACK = "127.0.0.1"


class Telemetry(ABC):
    """What the phases of a run talk to. Thread-safe, cheap, never a reason for a run to fail."""

    @abstractmethod
    def emit(self, event: Event) -> None:
        """Pass on what has happened."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds spent in each phase that was entered so far, by name, where that is counted."""
        return {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside belongs to phase `name`. Entered again, its seconds add up.

        Raises:
            RuntimeError: inside another phase.
        """
        self.emit(PhaseBegan(name))
        stopped = True
        try:
            yield
            stopped = False
        finally:
            self.emit(PhaseEnded(name, stopped))


class RunTelemetry(Telemetry):
    """Shows the events of a run to everybody who watches it.

    Args:
        state: what the events add up to.
        server: shows the state while the run lives.
        settings: where the outcome is sent. By default nowhere.
        terminal: where to show progress. None shows none there, and logs a line of it now and then.
    """

    def __init__(
        self,
        state: RunState,
        server: Server | None = None,
        settings: TelemetrySettings | None = None,
        terminal: TextIO | None = None,
    ) -> None:
        self.state = state
        self.server = server
        self._settings = settings or TelemetrySettings()
        self._bar = _open_bar(terminal, state) if terminal else None
        self._lock = threading.Lock()
        self._run_began = self._phase_began = self._line_logged = time.monotonic()
        self._log_handler = RunStateHandler(state)
        if server:
            logging.getLogger("job").addHandler(self._log_handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, and leave the log and the terminal as they were. Again is harmless."""
        logging.getLogger("job").removeHandler(self._log_handler)
        if self._bar:
            self._bar.close()
            self._bar = None
        if self.server:
            self.server.close()
            self.server = None

    @property
    def seconds(self) -> dict[str, float]:
        return self.state.snapshot().seconds

    def emit(self, event: Event) -> None:
        """Keep an event in the state, and log what people want to see at once.

        Lines of the log that are `in_progress` tell what a terminal shows anyway.
        """
        if isinstance(event, StageBegan | PhaseEnded):
            self._log_stage_end(event)
        self.state.apply(event)
        fields: dict[str, object]
        match event:
            case PhaseBegan():
                self._phase_began = self._line_logged = time.monotonic()
                fields = {"phase": event.phase, "event": "begins"}
                extra = {"fields": fields, "in_progress": True}
                logger.info("%s begins", event.phase, extra=extra)
            case PhaseEnded():
                ending = "stopped" if event.stopped else "done"
                seconds = round(time.monotonic() - self._phase_began, 3)
                fields = {"phase": event.phase, "event": ending, "seconds": seconds}
                text = "%s %s after %.1f s"
                logger.info(text, event.phase, ending, seconds, extra={"fields": fields})
            case Progressed():
                self._log_progress()
            case EpochEnded():
                values = (event.stage, event.epoch, event.epochs, _format_scores(event.scores))
                extra = {"fields": asdict(event), "in_progress": True}
                logger.info("%s: epoch %d of %d  %s", *values, extra=extra)
            case HeadSolved():
                solved = (event.stage, event.penalty, _format_scores(event.scores))
                fields = asdict(event)
                logger.info("%s: solved, penalty %.4g  %s", *solved, extra={"fields": fields})
            case RunEnded():
                self._send_outcome(event.result)

    def _send_outcome(self, result: Mapping[str, object]) -> None:
        """Send the outcome to all receivers at once, so that slow ones take no more time."""
        settings, name = self._settings, self.state.snapshot().name
        deliveries = []
        if settings.webhook_url.get_secret_value():
            deliveries.append(post(settings, RunFinished(model=name, result=result)))
        if settings.push_url:
            seconds = time.monotonic() - self._run_began
            deliveries.append(push(settings.push_url, name, result, seconds))
        for delivery in deliveries:
            delivery.wait()

    def _log_stage_end(self, event: StageBegan | PhaseEnded) -> None:
        """Log how the stage went that ends with an event: one line, which a terminal keeps."""
        snapshot = self.state.snapshot()
        stage, best = snapshot.stage, snapshot.best
        stopped = isinstance(event, PhaseEnded) and event.stopped
        goes_on = isinstance(event, StageBegan) and stage and event.stage == stage.stage
        if stage is None or best is None or stopped or goes_on:
            return
        epochs = snapshot.history[-1].epoch
        score = best.scores[stage.metric]
        fields = {"stage": stage.stage, "epochs": epochs, "best": best.epoch, stage.metric: score}
        text = "%s: %d of %d epochs, %s %.4g in epoch %d is the best"
        values = (stage.stage, epochs, stage.epochs, stage.metric, score, best.epoch)
        logger.info(text, *values, extra={"fields": fields})

    def _log_progress(self) -> None:
        # Several threads report progress: one of them logs the line.
        with self._lock:
            now = time.monotonic()
            if now - self._line_logged < PROGRESS_LINE_SECONDS:
                return
            self._line_logged = now
        _log_snapshot(self.state.snapshot())


def serve(
    settings: TelemetrySettings,
    name: str,
    phases: Sequence[str] = (),
    terminal: TextIO | None = None,
    registry: CollectorRegistry | None = None,
) -> RunTelemetry:
    """Telemetry of a run, served on `settings.port`. A port that is busy costs a warning.

    Args:
        settings: where the run is shown, and who gets its outcome. Port 0 serves nothing.
        name: the model's name.
        phases: in the order of the work, for the page. Others are appended as they come.
        terminal: where to show progress, if a person watches. The server then listens on the
            loopback, unless the settings name another address.
        registry: where the metrics are registered. By default one of its own.
    """
    state = RunState(name, phases)
    registry = registry or CollectorRegistry()
    register(state, registry)
    server = None
    if settings.port:
        host = settings.host or (LOOPBACK if terminal else EVERY_ADDRESS)
        try:
            server = Server(state, registry, host, settings.port)
            fields = {"port": server.port, "host": host}
            logger.info("live page and metrics: %s", server.url, extra={"fields": fields})
        except OSError as error:
            cause = error.strerror or error
            logger.warning(
                "port %d serves no metrics and no live page: %s (GRAFT_TELEMETRY_PORT chooses one)",
                settings.port,
                cause,
            )
    return RunTelemetry(state, server, settings, terminal)


def _open_bar(terminal: TextIO, state: RunState) -> "Bar":
    from job.telemetry.bar import Bar

    return Bar(terminal, state)


def silent() -> RunTelemetry:
    """Telemetry that serves nothing: for the quick verbs and for tests."""
    return RunTelemetry(RunState(""))


def _format_scores(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {score:.4g}" for name, score in scores.items())


def _log_snapshot(snapshot: RunStateSnapshot) -> None:
    progress, seconds_left = snapshot.progress, snapshot.seconds_left
    if progress is None or snapshot.running is None:  # it ended while we looked
        return
    if seconds_left is None:
        time_left = ""
    elif seconds_left < 60:
        time_left = ", less than a minute left"
    else:
        time_left = f", about {seconds_left / 60:.0f} min left"
    fields = {
        "phase": snapshot.running,
        "done": progress.done,
        "total": progress.total,
        "seconds_left": seconds_left,
        "run_seconds_left": snapshot.run_seconds_left,
    }
    counts = f"{progress.done:,} of {progress.total:,} {progress.unit}"
    extra = {"fields": fields, "in_progress": True}
    logger.info("%s: %s%s", snapshot.running, counts, time_left, extra=extra)
