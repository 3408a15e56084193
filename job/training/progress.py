"""How far a training is: everything that a resumed run needs, as JSON and as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from job.checkpoint import TrainingState
from job.settings import TrainingSettings
from job.telemetry import CheckpointSaved
from job.training.context import TrainingContext
from job.training.step import LossScale


@dataclass(slots=True, kw_only=True)
class StageProgress:
    """How far one stage is. A new stage is a new value.

    Attributes:
        epoch: complete epochs.
        step: complete steps of the epoch that runs.
        loss: summed over these steps.
        best_score: of the gate's metric on the validation images.
        best_loss: on the validation images, at the best score.
        stale: epochs since the best one.
        loss_scale: None until the first step.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best_score: float = -1.0
    best_loss: float = float("inf")
    stale: int = 0
    loss_scale: LossScale | None = None

    def is_over(self, settings: TrainingSettings) -> bool:
        """Whether no further epoch follows."""
        out_of_patience = 0 < settings.patience <= self.stale
        return self.epoch >= settings.epochs or out_of_patience

    def end_epoch(self, score: float, loss: float) -> bool:
        """Count an epoch with its validation score and loss; True if it is the best so far."""
        self.epoch += 1
        self.step = 0
        self.loss = 0.0
        # Among equal scores the lower loss is better: a score of few images is coarse.
        rank = (score, -loss)
        is_best = rank > (self.best_score, -self.best_loss)
        if is_best:
            self.best_score = score
            self.best_loss = loss
            self.stale = 0
        else:
            self.stale += 1
        return is_best


@dataclass(slots=True, kw_only=True)
class TrainingProgress:
    """How far all stages are.

    Attributes:
        stages: their number.
        stage: the number of the stage that runs, from 0.
        current: how far this stage is.
        over: all stages are complete. `CheckpointStore` reads it.
        history: one row per epoch, or per penalty of a solved head.
        fingerprints: of the machines that took part.
    """

    stages: int
    stage: int = 0
    current: StageProgress = field(default_factory=StageProgress)
    over: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        current = dict(facts["current"])
        scale = current["loss_scale"]
        # A state of the end of a stage has none.
        if scale is not None:
            current["loss_scale"] = LossScale(**scale)
        values = dict(facts)
        values["current"] = StageProgress(**current)
        return cls(**values)

    def end_stage(self) -> None:
        self.stage += 1
        self.current = StageProgress()
        self.over = self.stage == self.stages


def save_state(
    context: TrainingContext,
    progress: TrainingProgress,
    *,
    model: Sequence[Any],
    optimizer: Sequence[Any] = (),
    best: Sequence[np.ndarray] = (),
) -> None:
    """Make the state of the training durable, if this worker is the chief.

    Args:
        context: with the checkpoints.
        progress: how far the training is.
        model: all variables of the model. The state of Dropout's random numbers is among a model's
            `variables`, not among its `weights`.
        optimizer: its variables; none at the end of a stage.
        best: values of the trained variables at the best epoch so far.
    """
    if not context.workers.chief:
        return
    arrays = {
        "model": read_arrays(model),
        "optimizer": read_arrays(optimizer),
        "best": best,
    }
    state = TrainingState(arrays, asdict(progress))
    context.checkpoints.save(state)
    context.telemetry.emit(CheckpointSaved())


def read_arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    """The values of variables, in their order."""
    return [variable.numpy() for variable in variables]


def assign_arrays(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Assign values to variables by order: names change between processes, the order does not."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
