"""A training that can stop at any step and go on in another process."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from job.batches import Feed
from job.checkpoint import TrainingState, UnfitState, refuse_others
from job.errors import TemporaryError
from job.model import Classifier, replace_pooling
from job.settings import Pooling
from job.telemetry import CheckpointSaved
from job.training.context import TrainingContext
from job.training.history import restore_history
from job.training.progress import TrainingProgress

logger = logging.getLogger(__name__)

Arrays = dict[str, list[np.ndarray]]


@dataclass(slots=True, kw_only=True)
class TrainingSession:
    """What is trained, on what, and how far it is.

    Attributes:
        classifier: whose weights are trained.
        feed: the images.
        context: settings, workers, checkpoints and telemetry.
        progress: how far the training is.
        kept: what outlives a stage, by name: the states of the candidates of a race.
        running: the optimizer and the best states of the stage that a resumed training is in.
    """

    classifier: Classifier
    feed: Feed
    context: TrainingContext
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    kept: Arrays = field(default_factory=dict)
    running: Arrays = field(default_factory=dict)

    def resume(self) -> None:
        """Go on from the latest checkpoint, if there is one.

        Raises:
            TemporaryError: the workers do not start from one state.
        """
        context = self.context
        resumed = self._load_state()
        latest = context.checkpoints.latest
        if not context.workers.agree(latest):
            raise TemporaryError(
                f"This worker starts from {latest}, another one from elsewhere; expected one state "
                "for all. They see other data or states.",
                "Start all of them again.",
            )
        progress = self.progress
        if resumed:
            logger.info(
                "resumed at stage %d, epoch %d, step %d",
                progress.stage + 1,
                progress.current.epoch + 1,
                progress.current.step,
            )
            context.telemetry.emit(restore_history(progress.history, context.settings.epochs))
        progress.note_machine(context.workers.fingerprint)

    def save(self, running: Mapping[str, Sequence[np.ndarray]] | None = None) -> None:
        """Make the state of the training durable, if this worker is the chief.

        Args:
            running: the optimizer and the best states of a stage that is in its middle.
        """
        if not self.context.workers.chief:
            return
        arrays: dict[str, Sequence[np.ndarray]] = dict(self.kept)
        arrays |= running or {}
        # The state of Dropout's random numbers is among a model's `variables`, not among its
        # `weights`.
        arrays["model"] = read_arrays(self.classifier.model.variables)
        self.context.checkpoints.save(TrainingState(arrays, asdict(self.progress)))
        self.context.telemetry.emit(CheckpointSaved())

    def end_stage(self, *, last: bool = False) -> None:
        """Make the end of a stage durable in the bucket, and the state the same for all workers.

        Args:
            last: the training is complete.
        """
        self.progress.end_stage()
        self.progress.over = last
        self.save()
        # The workers ask each other here, so the others also wait until the state is there.
        self.context.agree_to_stop()
        if not self.context.workers.chief:
            self._load_state()

    def replace_pooling(self, pooling: Pooling) -> None:
        """Give the classifier the head of another pooling, if it is another one."""
        if pooling != self.classifier.spec.head.pooling:
            with self.context.workers.strategy.scope():
                self.classifier = replace_pooling(self.classifier, pooling)

    def _load_state(self) -> bool:
        restored = self.context.checkpoints.load_as(self._restore_model)
        if restored is None:
            return False
        self.progress, arrays = restored
        self.running = {}
        for name in ("optimizer", "best"):
            if name in arrays:
                self.running[name] = arrays.pop(name)
        self.kept = arrays
        return True

    def _restore_model(self, state: TrainingState) -> tuple[TrainingProgress, Arrays]:
        """Give the model the weights of a state.

        Returns:
            how far the training was, and the other arrays.

        Raises:
            UnfitState: the state is not one of this training.
        """
        classifier = self.classifier
        try:
            with refuse_others():
                progress = TrainingProgress.from_facts(state.facts)
                arrays = {name: list(values) for name, values in state.arrays.items()}
                self.replace_pooling(progress.outcome.get("pooling", classifier.spec.head.pooling))
                assign_arrays(self.classifier.model.variables, arrays.pop("model"))
        except UnfitState:
            self.classifier = classifier
            raise
        return progress, arrays


def read_arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of variables, in their order."""
    return [variable.numpy() for variable in variables]


def assign_arrays(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Assign values to variables by order: names change between processes, the order does not.

    Raises:
        ValueError: they do not fit. Nothing is assigned then.
    """
    pairs = list(zip(variables, arrays, strict=True))
    for variable, array in pairs:
        # Float, integer, truth value, or a type that NumPy itself does not have, such as bfloat16.
        if np.shape(array) != tuple(variable.shape) or array.dtype.kind not in "fiubV":
            raise ValueError(
                f"received {array.dtype} {list(array.shape)} for {variable.name}, expected "
                f"{variable.dtype} {list(variable.shape)}"
            )
    for variable, array in pairs:
        variable.assign(array)
