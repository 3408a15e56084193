"""The progress of a run for Kubeflow Trainer, which shows it in the status of the TrainJob.

The protocol is that of Trainer 2.2, where its feature gate `TrainJobStatus` is on: three variables
name a server, its certificate authority and a token, and progress is sent there by POST. See
https://github.com/kubeflow/trainer/tree/master/docs/proposals/2779-trainjob-progress.
"""

import json
import logging
import math
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.request import Request

from job.telemetry.delivery import Delivery, describe_failure, open_connection, try_once
from job.telemetry.metrics import outcome_scores, package_version
from job.telemetry.run_state import RunState
from job.telemetry.snapshot import RunStateSnapshot

logger = logging.getLogger(__name__)

# Trainer asks for at least 5 seconds between two reports.
INTERVAL_SECONDS = 10.0
# Until the run has ended, whatever the forecast says.
MOST_PERCENT = 99
# The API keeps seconds in 32 bits.
MOST_SECONDS = 2**31 - 1
# Of a run that is over. One that failed or was stopped is as far as it came.
COMPLETED = ("released", "unchanged", "below_gate")


@dataclass(frozen=True, slots=True)
class TrainerServer:
    """Where Kubeflow Trainer takes the progress of this TrainJob.

    Attributes:
        address: of the status of the TrainJob.
        authority: a file with the certificates that are trusted.
        token: a file with the token of this pod. It is replaced from time to time.
    """

    address: str
    authority: str
    token: str

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> Self | None:
        """The server that Trainer has put into the environment, or None."""
        names = ("URL", "CA_CERT", "TOKEN")
        values = [environment.get(f"KUBEFLOW_TRAINER_SERVER_{name}", "") for name in names]
        return cls(*values) if all(values) else None

    def send(self, status: Mapping[str, object]) -> None:
        """Report a status. Raises one of `delivery.FAILURES` if it is not taken."""
        headers = {
            "Authorization": f"Bearer {Path(self.token).read_text().strip()}",
            "Content-Type": "application/json",
            "User-Agent": f"graft/{package_version()}",
        }
        body = json.dumps({"trainerStatus": status}).encode()
        context = ssl.create_default_context(cafile=self.authority)
        open_connection(Request(self.address, body, headers, method="POST"), context).close()


class ProgressReporter:
    """Reports how far a run is, until it has ended.

    Args:
        server: who is told.
        state: of the run.
    """

    def __init__(self, server: TrainerServer, state: RunState) -> None:
        self._server, self._state = server, state
        self._is_over = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._report_often, name="progress", daemon=True)
        self._thread.start()

    def finish(self, result: Mapping[str, Any]) -> Delivery:
        """Report no more progress, and begin to report how the run has ended."""
        self._is_over.set()

        def send_last() -> None:
            # An older report must not come after this one.
            self._thread.join()
            if result["status"] in COMPLETED:
                self._server.send(describe_completion(result))

        return Delivery("Kubeflow Trainer has not taken the outcome", send_last)

    def _report_often(self) -> None:
        while True:
            self._report_once()
            if self._is_over.wait(INTERVAL_SECONDS):
                return

    def _report_once(self) -> None:
        """Send the progress. The first of several failures of one kind costs a warning."""
        error = try_once(self._send_progress)
        failure = describe_failure(error) if error else ""
        if failure and failure != self._failure:
            logger.warning("Kubeflow Trainer has not taken the progress: %s", failure)
        self._failure = failure

    def _send_progress(self) -> None:
        self._server.send(describe_progress(self._state.snapshot(), time.time()))


def describe_progress(snapshot: RunStateSnapshot, now: float) -> dict[str, object]:
    """What Trainer shows of a run that is at work. What is not known is left out.

    Args:
        snapshot: of the run.
        now: in seconds since 1970.
    """
    status: dict[str, object] = {}
    left = snapshot.run_seconds_left
    if left is not None:
        elapsed = max(0.0, now - snapshot.started)
        share = elapsed / (elapsed + left) if elapsed + left else 0.0
        status["progressPercentage"] = min(MOST_PERCENT, int(100 * share))
        status["estimatedRemainingSeconds"] = min(MOST_SECONDS, round(left))
    metrics = dict(snapshot.scores)
    if snapshot.steps.loss is not None:
        metrics["loss"] = snapshot.steps.loss
    if snapshot.stage:
        metrics["currentEpoch"] = snapshot.epoch
        metrics["totalEpochs"] = snapshot.stage.epochs
    return {**status, **_list_metrics(metrics)}


def describe_completion(result: Mapping[str, Any]) -> dict[str, object]:
    """What Trainer shows of a run that is over.

    Args:
        result: the `Result.as_dict()` of the run.
    """
    done = {"progressPercentage": 100, "estimatedRemainingSeconds": 0}
    return {**done, **_list_metrics(outcome_scores(result))}


def _list_metrics(values: Mapping[str, float]) -> dict[str, object]:
    """Metrics as Trainer takes them, and the time at which they were seen."""
    metrics = []
    for name, value in values.items():
        if math.isfinite(value):
            metrics.append({"name": name, "value": f"{value:.6g}"})
    return {"metrics": metrics, "lastUpdatedTime": datetime.now(UTC).isoformat(timespec="seconds")}
