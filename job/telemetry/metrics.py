"""The run as Prometheus sees it: names start with `graft_`, base units, about a hundred series at most.

Nothing is counted twice: the families are made from the state at each scrape.
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
from job.telemetry.snapshot import STEP_BOUNDS_SECONDS, Epoch, RunStateSnapshot

STATUSES = ("running", "released", "unchanged", "below_gate", "interrupted", "failed")
SPLITS = ("train", "val", "test")
SCORES_AT_MOST = 24
INFO_FACTS = ("backbone", "plan")


class RunCollector(Collector):
    """Turns a state into metric families."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """All families that have a value by now."""
        view = self._state.snapshot()
        families = (
            *_identity(view), *_phases(view), *_progress(view), *_training(view), *_scores(view), *_logged(view),
        )  # fmt: skip
        yield from (family for family in families if family.samples)


def register(state: RunState, registry: CollectorRegistry) -> None:
    """Show `state` and this process in `registry`."""
    registry.register(RunCollector(state))
    ProcessCollector(registry=registry)


@functools.cache
def package_version() -> str:
    """The version of Graft itself; looked up once, since that reads files."""
    return version("graft")


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(name, text, labels=())
    if value is not None:
        family.add_metric((), value)
    return family


def _labelled(
    kind: type[Metric], name: str, text: str, label: str, values: Mapping[str, float]
) -> Metric:
    family = kind(name, text, labels=(label,))  # type: ignore[call-arg]
    for key, value in values.items():
        family.add_metric((key,), value)  # type: ignore[attr-defined]
    return family


def _identity(view: RunStateSnapshot) -> Iterator[Metric]:
    about = {"name": view.name, "version": package_version()}
    about |= {fact: str(view.facts.get(fact, "")) for fact in INFO_FACTS}
    yield InfoMetricFamily("graft", "What is being trained.", value=about)
    status = {status: float(status == view.status) for status in STATUSES}
    yield _labelled(
        GaugeMetricFamily, "graft_run_status", "1 for the status of the run.", "status", status
    )
    yield _gauge(
        "graft_last_update_timestamp_seconds", "When the run last reported anything.", view.updated
    )


def _phases(view: RunStateSnapshot) -> Iterator[Metric]:
    running = {phase.name: float(phase.state == "running") for phase in view.phases}
    seconds = {phase.name: phase.seconds for phase in view.phases if phase.state != "to come"}
    images = {phase.name: float(phase.images) for phase in view.phases if phase.images}
    yield _labelled(
        GaugeMetricFamily, "graft_phase", "1 for the phase that is running.", "phase", running
    )
    yield _labelled(
        GaugeMetricFamily, "graft_phase_seconds", "Time spent in the phase.", "phase", seconds
    )
    yield _labelled(
        CounterMetricFamily, "graft_images", "Images processed in the phase.", "phase", images
    )


def _progress(view: RunStateSnapshot) -> Iterator[Metric]:
    ratio = view.progress.ratio if view.progress else None
    yield _gauge("graft_progress_ratio", "How far the running phase is, from 0 to 1.", ratio)


def _training(view: RunStateSnapshot) -> Iterator[Metric]:
    if view.history:
        last = view.history[-1]
        yield _labelled(
            GaugeMetricFamily,
            "graft_epoch",
            "Epochs done in the stage.",
            "stage",
            {last.stage: last.epoch},
        )
        yield _labelled(
            GaugeMetricFamily,
            "graft_epochs",
            "Epochs planned at most in the stage.",
            "stage",
            {last.stage: last.epochs},
        )
        rate = last.scores.get("learning_rate")
        yield _gauge("graft_learning_rate", "Learning rate at the end of the last epoch.", rate)
    yield _gauge("graft_train_loss", "Loss of the last training step.", view.steps.loss)
    yield _gauge(
        "graft_checkpoint_timestamp_seconds",
        "When the last checkpoint became durable.",
        view.checkpointed,
    )
    yield _step_seconds(view)


def _step_seconds(view: RunStateSnapshot) -> Metric:
    family = HistogramMetricFamily("graft_step_seconds", "Duration of a training step.", labels=())
    bounds = (*map(str, STEP_BOUNDS_SECONDS), "+Inf")
    if any(view.steps.counts):
        counts = itertools.accumulate(map(float, view.steps.counts))
        family.add_metric((), list(zip(bounds, counts, strict=True)), view.steps.seconds)
    return family


def _scores(view: RunStateSnapshot) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "graft_score", "Newest score of a split.", labels=("split", "metric")
    )
    scores = {
        ("test", name): score for name, score in outcome_scores(view.outcome).items()
    } | _newest(view.history)
    for (split, metric), score in itertools.islice(scores.items(), SCORES_AT_MOST):
        family.add_metric((split, metric), score)
    yield family


def _newest(history: tuple[Epoch, ...]) -> dict[tuple[str, str], float]:
    """The last epoch's scores by split and metric: `val_loss` is the loss of the split val, `loss` that of train."""
    scores = history[-1].scores if history else {}
    return {
        _split_and_metric(name): score for name, score in scores.items() if name != "learning_rate"
    }


def _split_and_metric(name: str) -> tuple[str, str]:
    split, _, metric = name.partition("_")
    return (split, metric) if split in SPLITS else ("train", name)


def outcome_scores(outcome: Mapping[str, object] | None) -> dict[str, float]:
    """The numbers among the scores of a result; a score that is null there says nothing here."""
    scores = (outcome or {}).get("scores")
    pairs = scores.items() if isinstance(scores, Mapping) else ()
    return {
        str(name): float(score)
        for name, score in pairs
        if score is not None and math.isfinite(score)
    }


def _logged(view: RunStateSnapshot) -> Iterator[Metric]:
    lines = {"warning": float(view.warnings), "error": float(view.errors)}
    yield _labelled(
        CounterMetricFamily, "graft_log_lines", "Warnings and errors logged.", "level", lines
    )
