"""How every candidate of a race did, as JSON for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from job.measurement.profile import compute_interval
from job.scores import Labels, score
from job.selection.candidates import Candidate
from job.selection.rule import Judged, Winner
from job.training import TrainingProgress

# Why a candidate is not trained by steps.
NO_BUDGET = "the budget is too small"
NO_REACH = "the first one has more than twice the errors of a solved head"
NO_EVIDENCE = "like ImageNet, and too few validation images to show a gain"


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceResults:
    """A race that has ended.

    Attributes:
        candidates: all of them.
        progress: how far those are that were trained by steps.
        epochs: of a full training.
        judged: the solved heads, and the candidates that were trained to the end.
        labels: of the validation images, int [n].
        metric: that compared them.
    """

    candidates: Sequence[Candidate]
    progress: TrainingProgress
    epochs: int
    judged: Sequence[Judged]
    labels: Labels
    metric: str

    def describe(self, winner: Winner) -> list[dict[str, Any]]:
        """One row for each candidate."""
        judged = {one.name: one for one in self.judged}
        return [
            self._describe_candidate(candidate, judged.get(candidate.name), winner)
            for candidate in self.candidates
        ]

    def _describe_candidate(
        self, candidate: Candidate, judged: Judged | None, winner: Winner
    ) -> dict[str, Any]:
        is_solved = candidate.mode == "none"
        progress = self.progress.parked.get(candidate.name)
        epochs = progress.epoch if progress else 0
        reason = ""
        value = low = high = None
        if judged is not None:
            value = score(self.metric, self.labels, judged.logits)
            low, high = compute_interval(self.metric, self.labels, judged.logits)
        if candidate.name == winner.name:
            reason = winner.reason
        elif progress is None and not is_solved:
            reason = f"not trained: {self._explain_absence()}"
        elif progress is not None and judged is None:
            # Its answers are gone, and with them the interval.
            value = progress.ranks[0][0]
            unit = "epoch" if epochs == 1 else "epochs"
            reason = f"left out after {epochs} {unit}"
        return {
            "name": candidate.name,
            "mode": candidate.mode,
            "pooling": candidate.pooling,
            "cut": candidate.cut and candidate.cut.name,
            "score": value,
            "low": low,
            "high": high,
            "work": candidate.count_work(1.0 if is_solved else epochs / self.epochs),
            "epochs": epochs,
            "of_epochs": 0 if is_solved else self.epochs,
            "chosen": candidate.name == winner.name,
            "reason": reason,
        }

    def _explain_absence(self) -> str:
        """Why a candidate was not trained at all."""
        if not self.progress.races:
            return NO_EVIDENCE
        # Only a race that has ended early has a rung without candidates.
        return NO_BUDGET if all(self.progress.rungs) else NO_REACH
