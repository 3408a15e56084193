"""The trainers of the candidates of a race. They share the variables of one classifier."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from job.selection.candidates import Candidate
from job.settings import TransferSettings
from job.training import (
    StageTrainer,
    TrainingSession,
    assign_arrays,
    divide_classifier,
    load_inputs,
    read_arrays,
)
from job.transfer import Stage

# What a session keeps of a candidate that does not run, by the name of the candidate.
VARIABLES, OPTIMIZER, BEST = "variables", "optimizer", "best"


@dataclass(slots=True, kw_only=True)
class CandidateTrainers:
    """Trains the candidates in turn, each from where it was.

    Attributes:
        session: keeps the state of each candidate.
        settings: the `transfer` group.
        start: values of all variables before anything was trained.
        head: name of the solved head, among what the session keeps, from which all of them start.
        trainers: of the candidates that have run in this process.
    """

    session: TrainingSession
    settings: TransferSettings
    start: list[np.ndarray]
    head: str
    trainers: dict[str, StageTrainer] = field(default_factory=dict)

    def begin(self, candidate: Candidate) -> StageTrainer:
        """The trainer of a candidate, with the model at the start of all candidates."""
        session = self.session
        self.assign_start()
        if candidate.name not in self.trainers:
            stage = Stage(
                name=candidate.name,
                frees=candidate.mode,
                rate=self.settings.rate_factor,
                solved=False,
            )
            network = divide_classifier(
                session.classifier, stage, candidate.cut, session.feed, session.context
            )
            inputs = load_inputs(network, session.feed, session.context)
            self.trainers[candidate.name] = StageTrainer(network, inputs, session.context)
        return self.trainers[candidate.name]

    def assign_start(self) -> None:
        """The pre-trained backbone with the solved head, from which every candidate begins."""
        classifier = self.session.classifier
        assign_arrays(classifier.model.variables, self.start)
        logits = classifier.head.get_layer("logits")
        assign_arrays(logits.variables, self.session.kept[self.head][:2])

    def park(self, name: str) -> None:
        """Keep the state of a candidate that has just been trained."""
        trainer = self.trainers[name]
        kept = self.session.kept
        kept[f"{name}: {VARIABLES}"] = read_arrays(trainer.network.variables)
        for kind, arrays in trainer.read_running().items():
            kept[f"{name}: {kind}"] = arrays

    def restore(self, name: str) -> None:
        """The inverse of `park`, for a candidate whose trainer has begun."""
        trainer, kept = self.trainers[name], self.session.kept
        assign_arrays(trainer.network.variables, kept[f"{name}: {VARIABLES}"])
        trainer.restore_running({kind: kept[f"{name}: {kind}"] for kind in (OPTIMIZER, BEST)})

    def forget(self, names: Sequence[str]) -> None:
        """Drop the states of candidates. Only their scores are of use from now on."""
        for name in names:
            for kind in (VARIABLES, OPTIMIZER, BEST):
                del self.session.kept[f"{name}: {kind}"]
            self.trainers.pop(name, None)
