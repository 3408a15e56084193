"""A few outcome series for a Pushgateway: a finished Job cannot be scraped any more.

The group is the model's name and never the run: the gateway keeps what it is given for ever.
"""

import logging
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from job.telemetry.metrics import STATUSES, outcome_scores

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""For each read from the gateway; DEADLINE_SECONDS holds for all of them together, the look-up of its name included."""
DEADLINE_SECONDS = 8.0
SUCCESSES = ("released", "unchanged")


def push(url: str, name: str, result: Mapping[str, object], seconds: float) -> None:
    """Push how the run of model `name` ended after `seconds`. A gateway that is away or slow costs a warning."""
    registry = outcome_registry(result, seconds)
    trouble = ["it did not answer in time"]
    worker = threading.Thread(
        target=_push, args=(url, name, registry, trouble), name="push", daemon=True
    )
    worker.start()
    worker.join(DEADLINE_SECONDS)
    if trouble:
        logger.warning("the outcome is not in the push gateway: %s", trouble[-1])


def _push(url: str, name: str, registry: CollectorRegistry, trouble: list[str]) -> None:
    """Empty `trouble` when it has worked."""
    try:
        # POST keeps the metrics that are not sent: a failed run leaves the time of the last success
        # in place.
        pushadd_to_gateway(url, "graft", registry, {"model": name}, TIMEOUT_SECONDS)
        trouble.clear()
    except (OSError, HTTPException, ValueError) as error:
        # Only the kind of error: its text may hold the address, and that a password.
        trouble.append(type(error).__name__)


def outcome_registry(result: Mapping[str, object], seconds: float) -> CollectorRegistry:
    """The series of one outcome; scores and the time of success only where there are some."""
    registry = CollectorRegistry()
    status = Gauge(
        "graft_last_status", "1 for the status of the last run.", ("status",), registry=registry
    )
    for known in STATUSES[1:]:
        status.labels(known).set(known == result["status"])
    Gauge("graft_last_duration_seconds", "Duration of the last run.", registry=registry).set(
        seconds
    )
    if result["status"] in SUCCESSES:
        text = "When a run last ended with a release or nothing to do."
        Gauge("graft_last_success_timestamp_seconds", text, registry=registry).set(time.time())
    if scores := outcome_scores(result):
        score = Gauge(
            "graft_last_score",
            "Score of the last release on its test split.",
            ("metric",),
            registry=registry,
        )
        for metric, value in scores.items():
            score.labels(metric).set(value)
    return registry
