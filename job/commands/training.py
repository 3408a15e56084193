"""Verbs about a run on this machine: `run`, `check`, `plan`."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from job.commands.environment import (
    collect_environment,
    find_keras_home,
    find_result_path,
    load_settings,
)
from job.commands.outcome import log_error, report_run, run_until_result
from job.errors import SettingsError
from job.result import Result

if TYPE_CHECKING:
    from job.workers import Stop


def run(arguments: argparse.Namespace) -> int:
    """Train a classifier and release it."""
    outcome = run_until_result(lambda stop: _run_watched(collect_environment(arguments), stop))
    return report_run(outcome, find_path_of_result(arguments))


def find_path_of_result(arguments: argparse.Namespace) -> Path | None:
    """Where the result of a run is written, also if the command line cannot work."""
    try:
        return find_result_path(collect_environment(arguments))
    except SettingsError:
        return find_result_path(os.environ)


def tell_webhook(arguments: argparse.Namespace, outcome: Result) -> None:
    """Tell the webhook how a run ended whose working process could not. It never raises."""
    from job import telemetry
    from job.workers import WorkerGroup

    try:
        settings = load_settings(arguments)
        group = WorkerGroup.parse(os.environ.get("TF_CONFIG", ""))
    except SettingsError:
        return
    if group.chief:
        # The duration for a Pushgateway is not known in this process.
        watchers = settings.telemetry.model_copy(update={"port": 0, "push_url": ""})
        with telemetry.serve(watchers, settings.name) as run_telemetry:
            run_telemetry.emit(telemetry.RunEnded(outcome.as_dict()))


def check(arguments: argparse.Namespace) -> int:
    """Test what a run needs. The exit code is that of the first thing that fails."""
    settings, code = load_settings(arguments), 0
    from job.pipeline import rehearsal

    for finding in rehearsal.check(settings, find_keras_home()):
        mark = "FAILED" if finding.error else "ok"
        print(f"{mark:<8}{finding.name:<12}{finding.text}", flush=True)
        if finding.error:
            code = code or finding.error.exit_code
    if code:
        print(f"A run would end with exit code {code}: repair what failed.")
    else:
        print("Ready: nothing speaks against a run.")
    return code


def plan(arguments: argparse.Namespace) -> int:
    """Show what would be retrained and why, and about how long it takes."""
    settings = load_settings(arguments)
    from job.pipeline import preview

    print(preview.plan(settings, find_keras_home(), layers=arguments.layers))
    return 0


def _run_watched(environment: Mapping[str, str], stop: "Stop") -> Result:
    """The run. Why it failed is logged."""
    from job.settings import load

    settings = load(environment)
    from job.commands.watched import run_watched
    from job.workers import WorkerGroup

    group = WorkerGroup.parse(os.environ.get("TF_CONFIG", ""))
    terminal = sys.stderr if sys.stderr.isatty() else None
    ending = run_watched(settings, stop, group, terminal)
    if ending.error:
        log_error(ending.error, ending.outcome)
    return ending.outcome
