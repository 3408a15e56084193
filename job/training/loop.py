"""One stage that is trained by steps."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.batches import collect_labels
from job.checkpoint import UnfitState, refuse_others
from job.errors import DivergedError, SettingsError
from job.scores import log_loss, score
from job.settings import TrainingSettings
from job.telemetry import EpochEnded, StageBegan, StepTaken
from job.training.context import TrainingContext
from job.training.inputs import StageInputs
from job.training.memory import GradientComputer
from job.training.network import StageNetwork
from job.training.prediction import predict_validation
from job.training.progress import STATES_KEPT, Rank, StageProgress
from job.training.session import Arrays, TrainingSession, assign_arrays, read_arrays
from job.training.step import LossScale, build_train_step
from job.training.work import StageWork

logger = logging.getLogger(__name__)


class StageTrainer:
    """Trains one stage, at once or in several legs between which other networks are trained.

    Args:
        network: what is trained.
        inputs: what it is trained on.
        context: with the settings of the training.
    """

    def __init__(
        self, network: StageNetwork, inputs: StageInputs, context: TrainingContext
    ) -> None:
        self.network = network
        self._inputs = inputs
        self._context = context
        self._labels = collect_labels(inputs.feed.splits.val)
        # The best states so far, the best first: values of the trained variables.
        self.best: list[list[np.ndarray]] = []
        self.work = StageWork(inputs.feed, context)

        def forward(batch: tf.Tensor) -> tf.Tensor:
            return network.compute_logits(batch, training=True)

        @tf.function
        def infer(batch: tf.Tensor) -> tf.Tensor:
            return network.compute_logits(batch, training=False)

        self._infer = infer
        with context.workers.strategy.scope():
            rate = _build_schedule(context.settings, network.stage.rate, inputs.feed.steps)
            self._optimizer = keras.optimizers.Adam(rate)
            # Built before the first step, so that a state can be assigned to its variables.
            self._optimizer.build(network.variables)
        self._train_step = build_train_step(
            context.workers.strategy,
            forward,
            network.variables,
            self._optimizer,
            context.settings,
        )
        self._gradients = GradientComputer(self._train_step, context)

    def read_running(self) -> Arrays:
        """The optimizer and the best states: with the model, all that the middle of a stage is."""
        best = [array for state in self.best for array in state]
        return {"optimizer": read_arrays(self._optimizer.variables), "best": best}

    def restore_running(self, arrays: Mapping[str, Sequence[np.ndarray]]) -> None:
        """The inverse of `read_running`.

        Raises:
            SettingsError: the arrays are not those of this stage.
        """
        width = len(self.network.variables)
        try:
            with refuse_others():
                assign_arrays(self._optimizer.variables, arrays["optimizer"])
                flat = arrays["best"]
                self.best = [list(flat[at : at + width]) for at in range(0, len(flat), width)]
        except UnfitState as error:
            checkpoints = self._context.checkpoints
            raise SettingsError(
                f"The latest checkpoint in {checkpoints.store.uri} is not one of this training: "
                f"{error}. Its digest is right, so Graft did not write it there.",
                "Remove it, and see who can write there.",
            ) from error

    def train(self, session: TrainingSession, until: int) -> bool:
        """Train until so many epochs are complete, or the stage has run out of patience.

        Args:
            session: whose `progress.current` is updated with every step.
            until: epochs since the beginning of the stage.

        Returns:
            False if a stop was requested first. The state is durable by then.

        Raises:
            DivergedError: a gradient is not finite.
            SettingsError: the GPU's memory is too small.
        """
        context = self._context
        strategy = context.workers.strategy
        progress = session.progress.current
        stage, metric = self.network.stage.name, f"val_{context.gate.metric}"
        began = StageBegan(stage, context.settings.epochs, progress.epoch, metric)
        context.telemetry.emit(began)
        self.work.begin(progress.epoch, progress.step, until)
        scale = progress.loss_scale or LossScale.for_precision(context.precision)
        # It is part of the state: a resumed stage goes on with the factor that it had.
        progress.loss_scale = scale

        def load_batches(_: Any) -> tf.data.Dataset:
            return self._inputs.load_epochs(progress.epoch, progress.step)

        # Of all epochs: what a batch holds depends on the epoch and the step alone.
        batches = iter(strategy.distribute_datasets_from_function(load_batches))
        while progress.epoch < until and not progress.is_over(context.settings):
            # A state may be of the end of an epoch: then validation follows at once.
            while progress.step < self._inputs.feed.steps:
                asked = time.monotonic()
                batch = next(batches)
                waited = time.monotonic() - asked
                if context.agree_to_stop():
                    session.save(self.read_running())
                    # A worker that starts again before the chief has saved would read an older
                    # state.
                    context.workers.wait()
                    return False
                self._take_step(batch, waited, scale, session)
                if context.checkpoints.should_save():
                    session.save(self.read_running())
            self._end_epoch(session)
        return True

    def time_steps(self, count: int) -> float:
        """Take some steps, and return the mean seconds of one. The weights change.

        One more goes before them, which builds the graphs.
        """
        scale = LossScale.for_precision(self._context.precision)
        strategy = self._context.workers.strategy

        def load_batches(_: Any) -> tf.data.Dataset:
            return self._inputs.load_epochs(0, 0)

        began = 0.0
        batches = iter(strategy.distribute_datasets_from_function(load_batches))
        for number in range(1 + count):
            if number == 1:
                began = time.monotonic()
            loss, _, gradients = self._gradients.compute(next(batches), scale)
            self._train_step.update(gradients)
            float(loss)  # waits for the devices
        return (time.monotonic() - began) / count

    def judge(self) -> tuple[Rank, np.ndarray]:
        """Judge the present weights on the validation images.

        Returns:
            (score, -loss), which is larger for better weights, and the logits float32 [n, classes].
        """
        logits = predict_validation(self._infer, self._inputs, self._context, self.work.count_batch)
        value = score(self._context.gate.metric, self._labels, logits)
        return (value, -log_loss(self._labels, logits)), logits

    def _take_step(
        self, batch: Any, waited: float, scale: LossScale, session: TrainingSession
    ) -> None:
        context = self._context
        telemetry = context.telemetry
        progress = session.progress.current
        started = time.monotonic()
        loss, finite, gradients = self._gradients.compute(batch, scale)
        if self._gradients.rows:
            # Other last bits than those of whole batches.
            session.progress.note_machine(f"{context.workers.fingerprint}, batches in parts")
        if finite:
            self._train_step.update(gradients)
            scale.record_success()
            progress.loss += float(loss)
        elif scale.reduce_after_overflow():
            # The loss was scaled too much for float16: the step is skipped.
            logger.info("float16 overflowed", extra={"fields": {"scale": scale.value}})
        else:
            session.save(self.read_running())
            raise _explain_divergence(self.network.stage.name, progress, context.settings)
        progress.step += 1
        mean_loss = progress.loss / progress.step
        images = context.settings.batch_size
        telemetry.emit(StepTaken(time.monotonic() - started, mean_loss, images, waited))
        self.work.count_batch()

    def _end_epoch(self, session: TrainingSession) -> None:
        """Judge an epoch, and keep its weights if they are among the best."""
        context = self._context
        progress = session.progress.current
        name = self.network.stage.name
        (value, negative_loss), _ = self.judge()
        scores = {
            "loss": progress.loss / self._inputs.feed.steps,
            "val_loss": -negative_loss,
            f"val_{context.gate.metric}": value,
        }
        place = progress.end_epoch(value, -negative_loss)
        if place is not None:
            self.best.insert(place, read_arrays(self.network.variables))
            del self.best[STATES_KEPT:]
        session.progress.history.append({"stage": name, "epoch": progress.epoch, **scores})
        shown = {**scores, "learning_rate": float(self._optimizer.learning_rate)}
        telemetry = context.telemetry
        telemetry.emit(EpochEnded(name, progress.epoch, context.settings.epochs, shown))


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
    progress: StageProgress,
    settings: TrainingSettings,
) -> DivergedError:
    """The error for a gradient that is not finite, where float16 is not to blame."""
    return DivergedError(
        f"The gradient is not finite at step {progress.step} of epoch {progress.epoch + 1}, "
        f"stage {name}; the last good state is kept.",
        f"Lower GRAFT_TRAINING_LEARNING_RATE (now {settings.learning_rate:g}) or set "
        "GRAFT_TRAINING_CLIP_NORM=1.",
    )
