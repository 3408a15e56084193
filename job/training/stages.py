"""The stages of a plan, one after the other."""

import logging
from dataclasses import dataclass
from typing import Any

from job.batches import Feed, collect_labels
from job.errors import TemporaryError
from job.model import Classifier
from job.scores import log_loss, score
from job.telemetry import HeadSolved
from job.training.context import TrainingContext
from job.training.inputs import keep_activations, load_inputs
from job.training.loop import train_stage
from job.training.network import divide_classifier, pool_backbone
from job.training.probe import Probe, solve_path
from job.training.progress import TrainingProgress, assign_arrays, save_state
from job.transfer import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The outcome of training; the weights are in the classifier.

    Attributes:
        history: one row per epoch, or per penalty of a solved head, whose epoch is None.
        exact: whether one kind of machine computed all of it. Only then would the same run give
            the same bytes.
    """

    history: tuple[dict[str, Any], ...]
    exact: bool


def fit(classifier: Classifier, plan: Plan, feed: Feed, context: TrainingContext) -> Fitted:
    """Run the stages of a plan, from the latest checkpoint if there is one.

    Raises:
        DivergedError: a gradient is not finite.
        Interrupted: SIGTERM; the state is in the bucket.
        SettingsError: the GPU's memory is too small.
        TemporaryError: the workers do not start from one state.
    """
    state = context.checkpoints.load()
    latest = context.checkpoints.latest
    if not context.workers.agree(latest):
        raise TemporaryError(
            f"This worker starts from {latest}, another one from elsewhere; expected one state for "
            "all. They see other data or states.",
            "Start all of them again.",
        )

    progress = TrainingProgress(stages=len(plan.stages))
    if state is not None:
        progress = TrainingProgress.from_facts(state.facts)
        assign_arrays(classifier.model.variables, state.arrays["model"])
        logger.info(
            "resumed at stage %d, epoch %d, step %d",
            progress.stage + 1,
            progress.current.epoch + 1,
            progress.current.step,
        )
        if not state.arrays["optimizer"]:
            # It was saved at the end of a stage: the next one begins afresh.
            state = None
    fingerprint = context.workers.fingerprint
    if fingerprint not in progress.fingerprints:
        progress.fingerprints.append(fingerprint)

    for stage in plan.stages[progress.stage :]:
        if stage.solved:
            _solve_head(classifier, feed, context, progress)
        else:
            network = divide_classifier(classifier, plan, stage, feed, context)
            # Not deferred: activations take minutes on a cold disk. Only complete ones are kept.
            inputs = load_inputs(network, feed, context)
            with context.stop.deferred():
                if train_stage(network, inputs, context, progress, state):
                    _end_stage(classifier, context, progress)
        # Only the first of these stages can have been interrupted in its middle.
        state = None
    return Fitted(
        history=tuple(progress.history),
        exact=len(progress.fingerprints) == 1,
    )


def _solve_head(
    classifier: Classifier,
    feed: Feed,
    context: TrainingContext,
    progress: TrainingProgress,
) -> None:
    """Solve the head for each penalty, and keep the one that is best on the validation images."""
    if not context.workers.chief:
        # One worker solves a head as fast as many: the others wait, and take what it finds.
        with context.stop.deferred():
            _end_stage(classifier, context, progress)
        return

    network = pool_backbone(classifier, context)
    features = keep_activations(network, feed, context)
    labels = collect_labels(feed.splits.train)
    val_labels = collect_labels(feed.splits.val)
    path = solve_path(
        features.train,
        feed.smooth_labels(labels),
        feed.weigh_labels(labels),
    )
    metric = context.gate.metric
    probes: list[Probe] = []
    ranks: list[tuple[float, float]] = []
    with context.stop.deferred():
        for probe in path:
            val_logits = probe.logits(features.val)
            value = score(metric, val_labels, val_logits)
            val_loss = log_loss(val_labels, val_logits)
            loss = log_loss(labels, probe.logits(features.train))
            scores = {"val_loss": val_loss, f"val_{metric}": value}
            row = {
                "stage": "probe",
                # A penalty is not an epoch.
                "epoch": None,
                "penalty": probe.penalty,
                "loss": loss,
                **scores,
            }
            progress.history.append(row)
            probes.append(probe)
            # Among equal scores the lower loss is better, as in a stage of steps.
            ranks.append((value, -val_loss))

        # Of equals this is the first one, which has the stronger penalty.
        value, negative_loss = max(ranks)
        best = probes[ranks.index((value, negative_loss))]
        scores = {"val_loss": -negative_loss, f"val_{metric}": value}
        context.telemetry.emit(HeadSolved("probe", best.penalty, scores))
        logits_layer = classifier.head.get_layer("logits")
        assign_arrays(logits_layer.variables, [best.kernel, best.bias])
        _end_stage(classifier, context, progress)


def _end_stage(
    classifier: Classifier,
    context: TrainingContext,
    progress: TrainingProgress,
) -> None:
    """Make the end of a stage durable in the bucket, and the weights the same for every worker."""
    variables = classifier.model.variables
    progress.end_stage()
    save_state(context, progress, model=variables)
    # The workers ask each other here, so the others also wait until the state is there.
    context.agree_to_stop()
    if context.workers.chief:
        return
    state = context.checkpoints.load()
    if state is not None:
        assign_arrays(variables, state.arrays["model"])
