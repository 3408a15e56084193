"""How far a training is: everything that a resumed run needs, as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from pydantic import TypeAdapter

from job.settings import TrainingSettings
from job.training.step import LossScale

# So many of the best states of a stage are kept. Their mean may be better than each of them.
STATES_KEPT = 3
Rank = tuple[float, float]


@dataclass(slots=True, kw_only=True)
class StageProgress:
    """How far one stage is. A new stage is a new value.

    Attributes:
        epoch: complete epochs.
        step: complete steps of the epoch that runs.
        loss: summed over these steps.
        ranks: (score, -loss) on the validation images of the best epochs, the best first.
        stale: epochs since the best one.
        loss_scale: None until the first step.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    ranks: list[Rank] = field(default_factory=list)
    stale: int = 0
    loss_scale: LossScale | None = None

    def is_over(self, settings: TrainingSettings) -> bool:
        """Whether no further epoch follows."""
        out_of_patience = 0 < settings.patience <= self.stale
        return self.epoch >= settings.epochs or out_of_patience

    def end_epoch(self, score: float, loss: float) -> int | None:
        """Count an epoch with its validation score and loss.

        Returns:
            its place among the best states, from 0, or None if it is not one of them.
        """
        self.epoch += 1
        self.step = 0
        self.loss = 0.0
        # Among equal scores the lower loss is better: a score of few images is coarse.
        rank = (score, -loss)
        # Of equals the earlier epoch is better.
        place = sum(rank <= better for better in self.ranks)
        self.stale = 0 if place == 0 else self.stale + 1
        self.ranks.insert(place, rank)
        del self.ranks[STATES_KEPT:]
        return place if place < STATES_KEPT else None


@dataclass(slots=True, kw_only=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        stage: the number of stages that are complete.
        current: how far the stage is that runs.
        over: the training is complete. `CheckpointStore` reads it.
        history: one row per epoch, or per penalty of a solved head.
        fingerprints: of the machines that took part, and of batches that were taken in parts.
        refinements: what was tried on the trained weights, and what it brought.
        races: whether candidates are trained by steps.
        boundaries: of a race: how many of the last stages its candidates of `part` free.
        rungs: of a race: the names of the candidates that take part in each of its rungs so far.
        legs: of a race: how many times a candidate has been trained up to the end of a rung.
        parked: how far the candidates are that do not run at present.
        outcome: of a race: the plan that won, and how every candidate did.
    """

    stage: int = 0
    current: StageProgress = field(default_factory=StageProgress)
    over: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    refinements: list[dict[str, Any]] = field(default_factory=list)
    races: bool = False
    boundaries: list[int] = field(default_factory=list)
    rungs: list[list[str]] = field(default_factory=list)
    legs: int = 0
    parked: dict[str, StageProgress] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            ValueError: they have other names or types.
        """
        differing = {one.name for one in fields(cls)} ^ set(facts)
        if differing:
            raise ValueError(f"received other facts than expected: {sorted(differing)}")
        return TypeAdapter(cls).validate_python(facts)

    def note_machine(self, fingerprint: str) -> None:
        """Remember a machine, or a way to compute, that gives its own last bits."""
        if fingerprint not in self.fingerprints:
            self.fingerprints.append(fingerprint)

    def end_stage(self) -> None:
        self.stage += 1
        self.current = StageProgress()
