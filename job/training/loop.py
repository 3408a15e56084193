"""One stage trained by steps: epochs, the best weights kept, checkpoints, stop on SIGTERM and on NaN."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.checkpoint import CheckpointStore, State
from job.errors import DivergedError, SettingsError
from job.scores import log_loss, score
from job.settings import GateSettings, TrainingSettings
from job.telemetry import CheckpointSaved, EpochEnded, Progressed, StepTaken, Telemetry
from job.training.step import LossScale, Step
from job.workers import Stop, Workers

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TrainingProgress:
    """Where a run stands: everything that a resumed run needs besides the arrays."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best_score: float = -1.0
    best_loss: float = float("inf")
    stale: int = 0
    scale: float | None = None
    good: int = 0
    over: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)

    def next_stage(self, stages: int) -> None:
        """Forget what belongs to one stage; after the last of them training is over."""
        self.stage, self.epoch, self.step, self.loss = self.stage + 1, 0, 0, 0.0
        self.best_score, self.best_loss, self.stale = -1.0, float("inf"), 0
        self.scale, self.good = None, 0
        self.over = self.stage == stages


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What every stage of a run works with. `precision` is the name of a Keras dtype policy."""

    settings: TrainingSettings
    gate: GateSettings
    workers: Workers
    precision: str
    checkpoints: CheckpointStore
    telemetry: Telemetry
    stop: Stop


@dataclass(frozen=True, slots=True)
class Task:
    """What one stage trains.

    Args:
        name: `probe` or `tune`.
        model: the whole Keras model, for its variables.
        variables: what is trained.
        forward: inputs -> logits float32 [batch, classes], in training mode.
        batches: (epoch, start step) -> a tf.data.Dataset of (inputs, targets, weights) for each
            device of this worker.
        validate: () -> (labels int [n], logits float32 [n, classes]).
        rate: peak learning rate.
        steps: steps in an epoch.
    """

    name: str
    model: Any
    variables: Sequence[Any]
    forward: Callable[[tf.Tensor], tf.Tensor]
    batches: Callable[[int, int], tf.data.Dataset]
    validate: Callable[[], tuple[np.ndarray, np.ndarray]]
    rate: float
    steps: int


class Loop:
    """The loop of one stage. `run` returns with the best weights in the model."""

    def __init__(self, task: Task, context: TrainingContext, progress: TrainingProgress) -> None:
        self.task, self.context, self.progress = task, context, progress
        with context.workers.strategy.scope():
            self.optimizer = keras.optimizers.Adam(
                _schedule(context.settings, task.rate, task.steps)
            )
            self.optimizer.build(task.variables)
        self.step = Step(
            context.workers.strategy,
            task.forward,
            task.variables,
            self.optimizer,
            context.settings.clip_norm,
            context.settings.xla,
        )
        self.scale = LossScale(context.precision == "mixed_float16")
        self.best: list[np.ndarray] = []

    def run(self, state: State | None = None) -> bool:
        """Train from a state of this stage, or from its beginning, to its end; False if a stop was requested before."""
        if state is not None:
            self._restore(state)
        while not self._over():
            if not self._epoch():
                self._save()
                self.context.workers.wait()  # Whoever starts anew before the chief has saved would read an older state.
                return False
            self._judge()
        restore(self._trained(), self.best)
        return True

    def _over(self) -> bool:
        patience = self.context.settings.patience
        return self.progress.epoch >= self.context.settings.epochs or bool(
            patience and self.progress.stale >= patience
        )

    def _epoch(self) -> bool:
        """One pass over the training images; False if a stop was requested on the way."""
        own = lambda _: self.task.batches(self.progress.epoch, self.progress.step)  # noqa: E731
        for batch in self.context.workers.strategy.distribute_datasets_from_function(own):
            if agree_to_stop(self.context):
                return False
            started = time.monotonic()
            self._take(batch)
            self.progress.step += 1
            self._report(time.monotonic() - started)
            if self.context.checkpoints.due():
                self._save()
        return True

    def _take(self, batch: Any) -> None:
        try:
            loss, finite, shares = self.step.gradients(*batch, tf.constant(self.scale.value))
        except tf.errors.ResourceExhaustedError as error:
            raise self._out_of_memory(batch) from error
        if not bool(finite):
            self._skip()
            return
        self.step.update(shares)
        self.scale.succeeded()
        self.progress.loss += float(loss)

    def _skip(self) -> None:
        """A gradient that is not finite changes nothing; float16 gets a smaller scale, everything else has diverged."""
        if self.scale.overflowed():
            logger.info("float16 overflowed", extra={"fields": {"scale": self.scale.value}})
            return
        self._save()
        raise DivergedError(
            f"The gradient is not finite at step {self.progress.step} of epoch {self.progress.epoch + 1}, stage "
            f"{self.task.name}; the last good state is kept.",
            f"Lower GRAFT_TRAINING_LEARNING_RATE (now {self.context.settings.learning_rate:g}) or set "
            "GRAFT_TRAINING_CLIP_NORM=1.",
        )

    def _out_of_memory(self, batch: Any) -> SettingsError:
        """What to set: halve the batch until a step fits; among several workers, who may not all be short, once."""
        size = self.context.settings.batch_size
        if self.context.workers.count > 1:
            return _too_small(size, f"Set GRAFT_TRAINING_BATCH_SIZE={size // 2}, or add workers.")
        while (size := size // 2) >= self.context.workers.replicas:
            try:
                rows = [self._first(part, size) for part in batch]
                self.step.gradients(*rows, tf.constant(self.scale.value))
                break
            except tf.errors.ResourceExhaustedError:
                continue
        fits = (
            f"Set GRAFT_TRAINING_BATCH_SIZE={size}, which fits."
            if size
            else "Use a smaller backbone or image size."
        )
        return _too_small(self.context.settings.batch_size, fits)

    def _first(self, part: Any, size: int) -> Any:
        each = size // self.context.workers.replicas
        return self.context.workers.strategy.run(lambda rows: rows[:each], args=(part,))

    def _report(self, seconds: float) -> None:
        loss = self.progress.loss / self.progress.step
        self.context.telemetry.emit(StepTaken(seconds, loss))
        self.context.telemetry.emit(Progressed(self.progress.step, self.task.steps, "steps"))

    def _judge(self) -> None:
        """The end of an epoch: validate, keep the best, count the epochs without a better one."""
        labels, logits = self.task.validate()
        value, loss = score(self.context.gate.metric, labels, logits), log_loss(labels, logits)
        row = {
            "stage": self.task.name,
            "epoch": self.progress.epoch + 1,
            "loss": self.progress.loss / self.task.steps,
            "val_loss": loss,
            f"val_{self.context.gate.metric}": value,
        }
        self.progress.history.append(row)
        better = (value, -loss) > (self.progress.best_score, -self.progress.best_loss)
        if better:
            self.progress.best_score, self.progress.best_loss = value, loss
            self.best = [variable.numpy() for variable in self._trained()]
        self.progress.stale = 0 if better else self.progress.stale + 1
        self.progress.epoch, self.progress.step, self.progress.loss = (
            self.progress.epoch + 1,
            0,
            0.0,
        )
        self._announce(row)

    def _announce(self, row: dict[str, Any]) -> None:
        scores = {key: value for key, value in row.items() if key not in ("stage", "epoch")}
        scores["learning_rate"] = float(self.optimizer.learning_rate)
        epochs = self.context.settings.epochs
        self.context.telemetry.emit(EpochEnded(self.task.name, row["epoch"], epochs, scores))

    def _trained(self) -> list[Any]:
        return [variable.value for variable in self.task.variables]

    def _save(self) -> None:
        if not self.context.workers.chief:
            return
        self.progress.scale, self.progress.good = self.scale.value, self.scale.good
        arrays = {
            "model": [variable.numpy() for variable in self.task.model.variables],
            "optimizer": [variable.numpy() for variable in self.optimizer.variables],
            "best": self.best,
        }
        self.context.checkpoints.save(State(arrays, asdict(self.progress)))
        self.context.telemetry.emit(CheckpointSaved())

    def _restore(self, state: State) -> None:
        restore(self.optimizer.variables, state.arrays["optimizer"])
        self.best = list(state.arrays["best"])
        if self.progress.scale is not None:
            self.scale.value, self.scale.good = self.progress.scale, self.progress.good


def agree_to_stop(context: TrainingContext) -> bool:
    """Whether any worker was asked to stop; then all of them are, at the same place."""
    stopping = context.workers.any(context.stop.requested)
    if stopping:
        context.stop.requested = True
    return stopping


def restore(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Assign arrays by order; the Dropout's seed state is among a model's `variables`, not its `weights` (facts 2)."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _too_small(batch_size: int, cure: str) -> SettingsError:
    return SettingsError(f"The GPU's memory is too small for a batch of {batch_size} images.", cure)


def _schedule(settings: TrainingSettings, rate: float, steps: int) -> Any:
    total = settings.epochs * steps
    warmup = int(settings.warmup * total)
    if settings.schedule == "constant":
        return rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else rate,
        total - warmup,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
