"""A run that others watch: `graft run` and `job.train` are this."""

import os
from dataclasses import dataclass, replace
from typing import TextIO

from job import pipeline, result, telemetry
from job.commands.environment import find_keras_home
from job.errors import explain_missing
from job.result import Result
from job.settings import Settings
from job.workers import SINGLE_WORKER, Stop, WorkerGroup


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How a run ended.

    Attributes:
        outcome: its result.
        error: what ended it, if it failed or was stopped.
    """

    outcome: Result
    error: BaseException | None


def run_watched(
    settings: Settings,
    stop: Stop,
    group: WorkerGroup = SINGLE_WORKER,
    terminal: TextIO | None = None,
) -> RunEnding:
    """Do a run. Whoever watches sees its outcome, good or bad, before losing sight of it.

    Args:
        settings: of the run.
        stop: the request to stop.
        group: the workers that train it.
        terminal: where to draw a progress bar, if a person watches.
    """
    # One event for a run, however many workers it has.
    watchers = settings.telemetry if group.chief else settings.telemetry.without_webhook()
    with telemetry.serve(watchers, settings.name, pipeline.PHASES, terminal) as run_telemetry:
        context = pipeline.RunContext(
            telemetry=run_telemetry, stop=stop, keras_home=find_keras_home(), worker_group=group
        )
        reporter = _start_reporter(run_telemetry) if group.chief else None
        error = None
        try:
            outcome = pipeline.run(settings, context)
        except BaseException as raised:  # noqa: BLE001 - the page and the push gateway get it too
            error = stop.explain(explain_missing(raised))
            outcome = result.failed(error)
        seen = run_telemetry.state.snapshot()
        outcome = replace(
            outcome,
            seconds=seen.seconds,
            input_wait=seen.input_wait,
            forecast_ratio=seen.forecast_ratio,
        )
        # What is known is not changed any more by a stop while others are told.
        stop.ignore()
        deliveries = []
        if reporter:
            deliveries.append(reporter.finish(outcome.as_dict()))
        if group.chief and (recording := _start_recording(settings, outcome)):
            deliveries.append(recording)
        run_telemetry.emit(telemetry.RunEnded(outcome.as_dict()))
        for delivery in deliveries:
            delivery.wait()
    return RunEnding(outcome, error)


def _start_reporter(watched: telemetry.RunTelemetry) -> telemetry.ProgressReporter | None:
    """Report progress to the Kubeflow Trainer of the environment, if there is one."""
    server = telemetry.TrainerServer.find(os.environ)
    return telemetry.ProgressReporter(server, watched.state) if server else None


def _start_recording(settings: Settings, outcome: Result) -> telemetry.Delivery | None:
    """Begin to tell the MLflow server of the environment, if there is one."""
    server = telemetry.TrackingServer.find(os.environ)
    if server is None:
        return None
    run = telemetry.TrackedRun(
        model=settings.name, result=outcome.as_dict(), params=settings.recorded_values()
    )
    return telemetry.start_recording(server, run)
