"""The stages of the plan: the head first on the frozen backbone, then what the plan frees."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job import features
from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, Shard, label_array, padded
from job.checkpoint import State
from job.errors import TemporaryError
from job.scores import log_loss, score
from job.telemetry import CheckpointSaved, EpochEnded
from job.training.loop import Loop, Task, TrainingContext, TrainingProgress, agree_to_stop, restore
from job.training.probe import PENALTIES, Probe, path
from job.training.record import write as record
from job.transfer import Plan, Stage, trained_variables

__all__ = [
    "FeatureCache",
    "Fitted",
    "TrainingContext",
    "fit",
    "predict",
    "record",
    "restore",
    "score",
]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Where activations are kept: a folder, a key that names weights and machine, and the bytes they may take."""

    folder: Path
    key: str
    limit: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """The outcome of training; the weights are in the classifier.

    `exact` is False if one part of it was computed on another machine than the rest (design 2.7).
    """

    history: tuple[dict[str, Any], ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class StageInput:
    """Where a stage enters the network.

    `frozen` runs once and its activations are kept; None means images, live. `name` tells it from
    any other part of this backbone, which its shape alone does not. `rest` maps what enters to
    features [batch, d], in inference mode.
    """

    name: str
    frozen: Any
    rest: Callable[[tf.Tensor], tf.Tensor]


def fit(
    classifier: Any, plan: Plan, feed: Feed, context: TrainingContext, cache: FeatureCache
) -> Fitted:
    """Run the stages of a plan, from the newest checkpoint if there is one.

    Raises:
        DivergedError: a gradient is not finite.
        Interrupted: SIGTERM; the state is in the bucket.
        SettingsError: the GPU's memory is too small.
        TemporaryError: the workers do not start from one state.
    """
    state = _loaded(context)
    progress = _resumed(classifier, state, context)
    stages = _Stages(classifier, plan, feed, context, cache)
    for stage in plan.stages[progress.stage :]:
        stages.run(stage, progress, state if state and state.arrays["optimizer"] else None)
        state = None
    return Fitted(tuple(progress.history), len(progress.fingerprints) == 1)


def _loaded(context: TrainingContext) -> State | None:
    """The newest state, which must be one and the same on every worker."""
    state = context.checkpoints.load()
    if not context.workers.agree(context.checkpoints.newest):
        raise TemporaryError(
            f"This worker starts from {context.checkpoints.newest}, another one from elsewhere: they see other data or states.",
            "Start all of them again.",
        )
    return state


def _resumed(classifier: Any, state: State | None, context: TrainingContext) -> TrainingProgress:
    progress = TrainingProgress()
    if state is not None:
        progress = TrainingProgress(**state.facts)
        restore(classifier.model.variables, state.arrays["model"])
        logger.info(
            "resumed at stage %d, epoch %d, step %d",
            progress.stage + 1,
            progress.epoch + 1,
            progress.step,
        )
    if context.workers.fingerprint not in progress.fingerprints:
        progress.fingerprints.append(context.workers.fingerprint)
    return progress


@dataclass(frozen=True, slots=True)
class _Stages:
    """What all stages of one plan share."""

    classifier: Any
    plan: Plan
    feed: Feed
    context: TrainingContext
    cache: FeatureCache

    def run(self, stage: Stage, progress: TrainingProgress, state: State | None) -> None:
        """One stage, from the `state` in its middle if there is one; at its end its own is durable."""
        context, entry = self.context, self._entry(stage)
        # One worker solves a head as fast as many: the others wait, and take what it found.
        idle = stage.solved and not context.workers.chief
        parts = (self.feed.splits.train, self.feed.splits.val)
        train, val = (None if idle else self._activations(entry, part) for part in parts)
        with context.stop.deferred():
            if not stage.solved and not Loop(
                self._task(stage, entry, train, val), context, progress
            ).run(state):
                return
            if stage.solved and not idle:
                progress.history.extend(self._solve(train, val))
            progress.next_stage(len(self.plan.stages))
            self._hand_over(progress)

    def _hand_over(self, progress: TrainingProgress) -> None:
        """The end of a stage, durable in the bucket and the same on every worker."""
        context, variables = self.context, self.classifier.model.variables
        if context.workers.chief:
            model = [variable.numpy() for variable in variables]
            context.checkpoints.save(
                State({"model": model, "optimizer": [], "best": []}, asdict(progress))
            )
            context.telemetry.emit(CheckpointSaved())
        agree_to_stop(context)  # They also wait here until the state is there.
        if not context.workers.chief and (state := context.checkpoints.load()):
            restore(variables, state.arrays["model"])

    def _entry(self, stage: Stage) -> StageInput:
        """As deep in the network as what is frozen, unchanging and small enough to keep."""
        classifier, feed, cut = self.classifier, self.feed, self.plan.cut
        if stage.frees == "none":
            frozen = keras.Model(
                classifier.backbone.input, classifier.pool(classifier.backbone.output)
            )
            return StageInput(f"pooled by {classifier.pooling}", frozen, tf.identity)
        if stage.frees == "all":
            return StageInput(
                "images",
                None,
                lambda images: classifier.pool(classifier.backbone(images, training=False)),
            )
        trunk, top = classifier.trunk(cut), classifier.top(cut)

        def rest(activations: tf.Tensor) -> tf.Tensor:
            return classifier.pool(top(activations, training=False))

        images = len(feed.splits.train) + len(feed.splits.val)
        if feed.augmentation == "none" and features.size(trunk, images) <= self.cache.limit:
            return StageInput(f"cut at {cut.name}", trunk, rest)
        return StageInput(
            "images", None, lambda images: rest(tf.stop_gradient(trunk(images, training=False)))
        )

    def _activations(self, entry: StageInput, examples: Sequence[Example]) -> np.ndarray | None:
        if entry.frozen is None:
            return None
        cache, context = self.cache, self.context
        key = f"{cache.key} {entry.name} {entry.frozen.output.shape} {context.precision} {context.workers.fingerprint}"
        return features.cache(
            entry.frozen, self.feed, examples, key, cache.folder, context.telemetry
        )

    def _solve(self, train: np.ndarray | None, val: np.ndarray | None) -> list[dict[str, Any]]:
        """Solve the head for each penalty and keep the one that does best on the validation images."""
        feed, metric, telemetry = self.feed, self.context.gate.metric, self.context.telemetry
        labels, truth = label_array(feed.splits.train), label_array(feed.splits.val)
        history: list[dict[str, Any]] = []
        ranked: list[tuple[tuple[float, float], int, Probe]] = []
        assert train is not None and val is not None  # noqa: PT018 - a solved stage frees nothing, so it is cached.
        for number, probe in enumerate(
            path(train, feed.targets(labels), feed.importance(labels)), 1
        ):
            logits = probe.logits(val)
            value, loss = score(metric, truth, logits), log_loss(truth, logits)
            told = {"val_loss": loss, f"val_{metric}": value}
            fitted = {"penalty": probe.penalty, "loss": log_loss(labels, probe.logits(train))}
            history.append({"stage": "probe", "epoch": number, **fitted, **told})
            telemetry.emit(EpochEnded("probe", number, len(PENALTIES), told))
            ranked.append(((value, -loss), -number, probe))
        best = max(ranked)[-1]
        restore(self.classifier.head.get_layer("logits").variables, [best.kernel, best.bias])
        return history

    def _task(
        self, stage: Stage, entry: StageInput, train: np.ndarray | None, val: np.ndarray | None
    ) -> Task:
        classifier, feed, team = self.classifier, self.feed, self.context.workers
        share = Shard(team.index, team.count, len(team.devices))
        infer = tf.function(lambda inputs: classifier.head(entry.rest(inputs), training=False))

        def validate() -> tuple[np.ndarray, np.ndarray]:
            """Each worker looks at every n-th batch, and learns what the others saw."""
            examples = feed.splits.val
            logits = np.zeros(
                (-(-len(examples) // EVALUATION_BATCH), EVALUATION_BATCH, len(feed.splits.classes)),
                "f4",
            )
            mine = range(team.index, len(logits), team.count)
            batches = feed.plain(_blocks(examples, mine)) if val is None else _batches(val, mine)
            for place, batch in zip(mine, batches, strict=True):
                logits[place] = infer(batch)
            return label_array(examples), team.sum(logits).reshape(-1, logits.shape[2])[
                : len(examples)
            ]

        return Task(
            name=stage.name,
            model=classifier.model,
            variables=trained_variables(classifier, stage.frees, self.plan.cut),
            forward=lambda inputs: classifier.head(entry.rest(inputs), training=True),
            batches=lambda epoch, start: feed.train(epoch, start, train, share),
            validate=validate,
            rate=self.context.settings.learning_rate * stage.rate,
            steps=feed.steps,
        )


def predict(classifier: Any, feed: Feed, examples: Sequence[Example]) -> np.ndarray:
    """The trained model's logits: float32 [n, classes], in batches of one fixed size."""
    infer = tf.function(
        lambda images: classifier.head(
            classifier.pool(classifier.backbone(images, training=False)), training=False
        )
    )
    return np.concatenate([infer(batch).numpy() for batch in feed.plain(examples)])[: len(examples)]


def _blocks(examples: Sequence[Example], places: Iterable[int]) -> list[Example]:
    """The examples of some of the batches that evaluation cuts them into."""
    starts = [place * EVALUATION_BATCH for place in places]
    return [example for start in starts for example in examples[start : start + EVALUATION_BATCH]]


def _batches(rows: np.ndarray, places: Iterable[int]) -> Iterator[np.ndarray]:
    starts = (place * EVALUATION_BATCH for place in places)
    return (
        padded(np.asarray(rows[start : start + EVALUATION_BATCH]), EVALUATION_BATCH)
        for start in starts
    )
