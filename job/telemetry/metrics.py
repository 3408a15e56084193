"""The run as Prometheus sees it: names start with `graft_`, base units, about 100 series at most.

Nothing is counted twice: each scrape makes the metrics from the state.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from job.telemetry.run_state import RunState
from job.telemetry.snapshot import STEP_BOUNDS_SECONDS, RunStateSnapshot

STATUSES = ("running", "released", "unchanged", "below_gate", "interrupted", "failed")
SPLITS = ("train", "val", "test")
# A cap on the series of one family: scores come by name, and names come from other rooms.
SCORES_AT_MOST = 24
INFO_FACTS = ("backbone", "plan")


class RunCollector(Collector):
    """Turns the state of a run into metrics."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Every metric that has a value by now."""
        snapshot = self._state.snapshot()
        lines = {"warning": float(snapshot.warnings), "error": float(snapshot.errors)}
        metrics = (
            *_run_metrics(snapshot),
            *_training_metrics(snapshot),
            _score_metric(snapshot),
            _make_counter("graft_log_lines", "Warnings and errors logged.", "level", lines),
        )
        for metric in metrics:
            if metric.samples:  # one without a value would look like a 0 that was measured
                yield metric


def register(state: RunState, registry: CollectorRegistry) -> None:
    """Show `state` and this process in `registry`."""
    registry.register(RunCollector(state))
    ProcessCollector(registry=registry)


@functools.cache
def package_version() -> str:
    """The version of Graft itself. It is looked up once, since that reads files."""
    return version("graft")


def outcome_scores(outcome: Mapping[str, object] | None) -> dict[str, float]:
    """The finite numbers among the scores of a result."""
    scores = (outcome or {}).get("scores")
    if not isinstance(scores, Mapping):
        return {}
    return {
        str(name): float(score)
        for name, score in scores.items()
        if score is not None and math.isfinite(score)
    }


def _run_metrics(snapshot: RunStateSnapshot) -> Iterator[Metric]:
    info = {"name": snapshot.name, "version": package_version()}
    for fact in INFO_FACTS:
        info[fact] = str(snapshot.facts.get(fact, ""))
    yield InfoMetricFamily("graft", "What is being trained.", value=info)

    status = {status: float(status == snapshot.status) for status in STATUSES}
    yield _make_gauges("graft_run_status", "1 for the status of the run.", "status", status)
    yield _make_gauge(
        "graft_last_update_timestamp_seconds",
        "When the run last reported anything.",
        snapshot.updated,
    )

    new_images = snapshot.facts.get("new images")
    if isinstance(new_images, int):
        text = "Images that the last release has not seen, where GRAFT_TRIGGER_ is set."
        yield _make_gauge("graft_new_images", text, new_images)

    running = {phase.name: float(phase.state == "running") for phase in snapshot.phases}
    yield _make_gauges("graft_phase", "1 for the phase that is running.", "phase", running)
    yield _make_gauges("graft_phase_seconds", "Time spent in the phase.", "phase", snapshot.seconds)

    images = {phase.name: float(phase.images) for phase in snapshot.phases if phase.images}
    yield _make_counter("graft_images", "Images processed in the phase.", "phase", images)

    text = "Share of the time of its batches in which the devices waited for input, from 0 to 1."
    yield _make_gauges("graft_input_wait_ratio", text, "phase", snapshot.input_wait)

    ratio = snapshot.progress.ratio if snapshot.progress else None
    yield _make_gauge("graft_progress_ratio", "How far the running phase is, from 0 to 1.", ratio)


def _training_metrics(snapshot: RunStateSnapshot) -> Iterator[Metric]:
    if snapshot.history:
        last = snapshot.history[-1]
        done, planned = {last.stage: float(last.epoch)}, {last.stage: float(last.epochs)}
        rate = last.scores.get("learning_rate")
        yield _make_gauges("graft_epoch", "Epochs done in the stage.", "stage", done)
        yield _make_gauges("graft_epochs", "Epochs planned at most in the stage.", "stage", planned)
        yield _make_gauge(
            "graft_learning_rate", "Learning rate at the end of the last epoch.", rate
        )
    yield _make_gauge("graft_train_loss", "Loss of the last training step.", snapshot.steps.loss)
    yield _make_gauge(
        "graft_checkpoint_timestamp_seconds",
        "When the last checkpoint became durable.",
        snapshot.checkpointed,
    )

    steps = snapshot.steps
    family = HistogramMetricFamily("graft_step_seconds", "Duration of a training step.", labels=())
    if any(steps.counts):
        bounds = [*(str(bound) for bound in STEP_BOUNDS_SECONDS), "+Inf"]
        # Prometheus's buckets are cumulative: each one holds all steps up to its bound.
        buckets = itertools.accumulate(float(count) for count in steps.counts)
        family.add_metric((), list(zip(bounds, buckets, strict=True)), steps.seconds)
    yield family


def _score_metric(snapshot: RunStateSnapshot) -> Metric:
    scores = {}
    for name, score in outcome_scores(snapshot.outcome).items():
        scores["test", name] = score
    for name, score in snapshot.scores.items():
        # `val_loss` is the loss of the split val, `loss` that of train.
        split, _, metric = name.partition("_")
        if name == "learning_rate":  # it has a metric of its own
            continue
        if split in SPLITS:
            scores[split, metric] = score
        else:
            scores["train", name] = score

    labels = ("split", "metric")
    family = GaugeMetricFamily("graft_score", "Newest score of a split.", labels=labels)
    for names, score in itertools.islice(scores.items(), SCORES_AT_MOST):
        family.add_metric(names, score)
    return family


def _make_gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(name, text, labels=())
    if value is not None:
        family.add_metric((), value)
    return family


def _make_gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _make_counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
