"""A few outcome series for a Pushgateway, since a finished Job cannot be scraped any more.

They are grouped by the model's name and never by the run: the gateway keeps what it gets for ever.
"""

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from job.telemetry.delivery import TIMEOUT_SECONDS, Delivery
from job.telemetry.metrics import STATUSES, outcome_scores

SUCCESSES = ("released", "unchanged")


def push(url: str, name: str, result: Mapping[str, object], seconds: float) -> Delivery:
    """Begin to push how the run of model `name` ended after `seconds`."""
    registry = outcome_registry(result, seconds)

    def push_once() -> None:
        # POST keeps the metrics that are not sent: a failed run leaves the time of the last
        # success in place.
        pushadd_to_gateway(url, "graft", registry, {"model": name}, TIMEOUT_SECONDS)

    return Delivery("the outcome is not in the push gateway", push_once)


def outcome_registry(result: Mapping[str, object], seconds: float) -> CollectorRegistry:
    """The series of one outcome. Scores and the time of success are there only if there are any."""
    registry = CollectorRegistry()

    text = "1 for the status of the last run."
    status = Gauge("graft_last_status", text, ("status",), registry=registry)
    for known in STATUSES[1:]:
        status.labels(known).set(known == result["status"])

    text = "Duration of the last run."
    Gauge("graft_last_duration_seconds", text, registry=registry).set(seconds)

    if result["status"] in SUCCESSES:
        text = "When a run last ended with a release or nothing to do."
        Gauge("graft_last_success_timestamp_seconds", text, registry=registry).set(time.time())

    new_images = result.get("new_images")
    if isinstance(new_images, int):
        text = "Images that were too few for the last run to train on."
        Gauge("graft_last_new_images", text, registry=registry).set(new_images)

    if scores := outcome_scores(result):
        text = "Score of the last release on its test split."
        score = Gauge("graft_last_score", text, ("metric",), registry=registry)
        for metric, value in scores.items():
            score.labels(metric).set(value)
    return registry
