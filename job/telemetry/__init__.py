"""The only room that uses Prometheus: events of a run, JSON logs, metrics, the live page.

with serve(settings.telemetry, settings.name, phases) as telemetry:
    with telemetry.phase("dataset"):
        telemetry.emit(Progressed(done, total, "images"))
    telemetry.emit(RunEnded(result.as_dict()))
"""

from job.telemetry.delivery import Delivery
from job.telemetry.events import (
    BatchUsed,
    CheckpointSaved,
    EpochEnded,
    Event,
    FactsFound,
    HeadSolved,
    HistoryRestored,
    PhaseBegan,
    PhaseEnded,
    Progressed,
    RunEnded,
    StageBegan,
    StepTaken,
    WorkForecast,
)
from job.telemetry.logs import configure_logs, name_run, record_log
from job.telemetry.telemetry import RunTelemetry, Telemetry, serve, silent
from job.telemetry.tracking import TrackedRun, TrackingServer, start_recording
from job.telemetry.trainer import ProgressReporter, TrainerServer
from job.telemetry.waiting import time_input

__all__ = [
    "BatchUsed",
    "CheckpointSaved",
    "Delivery",
    "EpochEnded",
    "Event",
    "FactsFound",
    "HeadSolved",
    "HistoryRestored",
    "PhaseBegan",
    "PhaseEnded",
    "ProgressReporter",
    "Progressed",
    "RunEnded",
    "RunTelemetry",
    "StageBegan",
    "StepTaken",
    "Telemetry",
    "TrackedRun",
    "TrackingServer",
    "TrainerServer",
    "WorkForecast",
    "configure_logs",
    "name_run",
    "record_log",
    "serve",
    "silent",
    "start_recording",
    "time_input",
]
