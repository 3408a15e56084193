"""One stage that is trained by steps."""

import logging
import operator
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.batches import collect_labels
from job.checkpoint import TrainingState
from job.errors import DivergedError, SettingsError
from job.scores import log_loss, score
from job.settings import TrainingSettings
from job.telemetry import EpochEnded, Progressed, StepTaken
from job.training.context import TrainingContext
from job.training.inputs import StageInputs
from job.training.network import StageNetwork
from job.training.prediction import predict_validation
from job.training.progress import TrainingProgress, assign_arrays, read_arrays, save_state
from job.training.step import LossScale, TrainStep, build_train_step

logger = logging.getLogger(__name__)


def train_stage(  # noqa: C901, PLR0915 - one loop reads best in one place.
    network: StageNetwork,
    inputs: StageInputs,
    context: TrainingContext,
    progress: TrainingProgress,
    state: TrainingState | None,
) -> bool:
    """Train a stage to its end, and leave the best weights in the model.

    Args:
        network: what is trained.
        inputs: what it is trained on.
        context: with the settings of the training.
        progress: is updated with every step.
        state: of the middle of this stage, from which it goes on; None at its beginning.

    Returns:
        False if a stop was requested first. The state is durable by then.

    Raises:
        DivergedError: a gradient is not finite.
        SettingsError: the GPU's memory is too small.
    """
    settings = context.settings
    workers = context.workers
    telemetry = context.telemetry
    metric = context.gate.metric
    name = network.stage.name
    steps = inputs.feed.steps
    labels = collect_labels(inputs.feed.splits.val)
    stage = progress.current
    scale = stage.loss_scale or LossScale.for_precision(context.precision)
    # It is part of the state: a resumed stage goes on with the factor that it had.
    stage.loss_scale = scale
    best: list[np.ndarray] = []

    def forward(batch: tf.Tensor) -> tf.Tensor:
        return network.compute_logits(batch, training=True)

    @tf.function
    def infer(batch: tf.Tensor) -> tf.Tensor:
        return network.compute_logits(batch, training=False)

    with workers.strategy.scope():
        rate = _build_schedule(settings, network.stage.rate, steps)
        optimizer = keras.optimizers.Adam(rate)
        # Built before the first step, so that a state can be assigned to its variables.
        optimizer.build(network.variables)
    train_step = build_train_step(
        workers.strategy,
        forward,
        network.variables,
        optimizer,
        settings,
    )
    if state is not None:
        assign_arrays(optimizer.variables, state.arrays["optimizer"])
        best = list(state.arrays["best"])

    def save_checkpoint() -> None:
        save_state(
            context,
            progress,
            model=network.classifier.model.variables,
            optimizer=optimizer.variables,
            best=best,
        )

    def load_batches(_: Any) -> tf.data.Dataset:
        return inputs.load_epoch(stage.epoch, stage.step)

    while not stage.is_over(settings):
        # A new data set in each epoch: its batches depend on the epoch and the step. A state may be
        # of the end of an epoch: then there are no batches, and validation follows.
        batches = workers.strategy.distribute_datasets_from_function(load_batches)
        for batch in batches:
            if context.agree_to_stop():
                save_checkpoint()
                # A worker that starts again before the chief has saved would read an older state.
                workers.wait()
                return False

            started = time.monotonic()
            try:
                loss, finite, gradients = train_step.compute_gradients(
                    *batch,
                    tf.constant(scale.value),
                )
            except tf.errors.ResourceExhaustedError as error:
                raise _explain_out_of_memory(train_step, batch, context) from error
            if finite:
                train_step.update(gradients)
                scale.record_success()
                stage.loss += float(loss)
            elif scale.reduce_after_overflow():
                # The loss was scaled too much for float16: the step is skipped.
                logger.info("float16 overflowed", extra={"fields": {"scale": scale.value}})
            else:
                save_checkpoint()
                raise _explain_divergence(name, progress, settings)
            stage.step += 1
            seconds = time.monotonic() - started
            mean_loss = stage.loss / stage.step
            telemetry.emit(StepTaken(seconds, mean_loss))
            telemetry.emit(Progressed(stage.step, steps, "steps"))
            if context.checkpoints.should_save():
                save_checkpoint()

        logits = predict_validation(infer, inputs, workers)
        value = score(metric, labels, logits)
        validation_loss = log_loss(labels, logits)
        scores = {
            "loss": stage.loss / steps,
            "val_loss": validation_loss,
            f"val_{metric}": value,
        }
        if stage.end_epoch(value, validation_loss):
            best = read_arrays(network.variables)
        row = {"stage": name, "epoch": stage.epoch, **scores}
        progress.history.append(row)
        shown = {**scores, "learning_rate": float(optimizer.learning_rate)}
        telemetry.emit(EpochEnded(name, stage.epoch, settings.epochs, shown))

    assign_arrays(network.variables, best)
    return True


def _build_schedule(settings: TrainingSettings, factor: float, steps: int) -> Any:
    """The learning rate of a stage with `steps` in an epoch: a number, or a Keras schedule."""
    rate = settings.learning_rate * factor
    if settings.schedule == "constant":
        return rate
    total = settings.epochs * steps
    warmup = int(settings.warmup * total)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else rate,
        decay_steps=total - warmup,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )


def _explain_divergence(
    name: str,
    progress: TrainingProgress,
    settings: TrainingSettings,
) -> DivergedError:
    """The error for a gradient that is not finite, where float16 is not to blame."""
    stage = progress.current
    return DivergedError(
        f"The gradient is not finite at step {stage.step} of epoch {stage.epoch + 1}, "
        f"stage {name}; the last good state is kept.",
        f"Lower GRAFT_TRAINING_LEARNING_RATE (now {settings.learning_rate:g}) or set "
        "GRAFT_TRAINING_CLIP_NORM=1.",
    )


def _explain_out_of_memory(
    train_step: TrainStep,
    batch: tuple[Any, ...],
    context: TrainingContext,
) -> SettingsError:
    """The error for a batch that does not fit, with a smaller one that does.

    The batch is halved until a step fits. Workers must call a step together, and not all of them
    may be short of memory: among several, nothing is tried.
    """
    workers = context.workers
    size = context.settings.batch_size
    message = f"The GPU's memory is too small for a batch of {size} images."
    if workers.count > 1:
        cure = f"Set GRAFT_TRAINING_BATCH_SIZE={size // 2}, or add workers."
        return SettingsError(message, cure)

    scale = LossScale.for_precision(context.precision)
    while (size := size // 2) >= workers.replicas:
        rows = slice(size // workers.replicas)
        smaller = [workers.strategy.run(operator.getitem, args=(part, rows)) for part in batch]
        try:
            train_step.compute_gradients(*smaller, tf.constant(scale.value))
        except tf.errors.ResourceExhaustedError:
            continue
        return SettingsError(message, f"Set GRAFT_TRAINING_BATCH_SIZE={size}, which fits.")
    return SettingsError(message, "Use a smaller backbone or image size.")
