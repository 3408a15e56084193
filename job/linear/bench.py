"""A trial whose features are rotated once, so that many heads can be judged on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.linear.basis import find_basis
from job.linear.quick import LEAST_GAIN, Head, Problem
from job.linear.sample import Group
from job.linear.trial import Round, Trial
from job.scores import Labels

FloatArray = NDArray[np.float32]

# Of a rough bench: components of one group, and where the solver stops.
MOST_COMPONENTS = 512
ROUGH_GAIN = 1e-4


@dataclass(frozen=True, slots=True)
class Bench:
    """Heads are solved and judged here.

    Attributes:
        trial: what is learnt from and what judges.
        problem: all images of the trial, in components.
        group_of: int [r], the number of each component's group.
    """

    trial: Trial
    problem: Problem
    group_of: NDArray[np.int64]

    @property
    def labels(self) -> Labels:
        """Of the images that judge, in the order of the logits."""
        return self.trial.judged_labels

    def judge(
        self,
        penalty: float,
        values: Sequence[float],
        rounds: Sequence[Round] | None = None,
        starts: Sequence[Head] = (),
    ) -> tuple[FloatArray, tuple[Head, ...]]:
        """Solve the head of each round, and return logits of the images that judge.

        Args:
            penalty: as in `PENALTIES`.
            values: one factor for each group.
            rounds: those of the trial, or the same with fewer images to learn from.
            starts: the heads of the same rounds, solved nearby.

        Returns:
            logits float32 [judged, classes], and the heads.
        """
        factors = np.asarray(values, np.float64)[self.group_of]
        heads = []
        logits = []
        for number, each in enumerate(rounds or self.trial.rounds):
            start = starts[number] if starts else None
            head = self.problem.take(each.learnt).solve(penalty, factors, start)
            heads.append(head)
            logits.append(head.logits(self.problem.components[each.judged]))
        return np.concatenate(logits), tuple(heads)


def set_up_bench(
    trial: Trial,
    groups: Sequence[Group],
    *,
    rough: bool = False,
) -> Bench:
    """Rotate the features of a trial.

    Folds share one standardisation and one rotation, which see features and no labels.

    Args:
        trial: what is learnt from and what judges.
        groups: which columns belong together. Others are left out.
        rough: keep the first principal components of wide groups only, and stop the solver early.
            Scores move by about half a point, in a fifth of the time.
    """
    sample = trial.sample
    # Validation images are new to everything that is learnt.
    seen = slice(None) if trial.folds else trial.rounds[0].learnt
    basis = find_basis(sample.features[seen], groups, MOST_COMPONENTS if rough else None)
    problem = Problem(
        components=basis.project(sample.features),
        targets=sample.targets,
        weights=sample.weights,
        variances=basis.variances,
        least_gain=ROUGH_GAIN if rough else LEAST_GAIN,
    )
    return Bench(trial=trial, problem=problem, group_of=basis.group_of)
