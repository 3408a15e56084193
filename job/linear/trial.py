"""What a head learns from and what judges it: validation images, or folds where those are few."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.linear.sample import Sample, join
from job.scores import Labels

# Below so many validation images a score is too rough to choose by: one image is half a point.
LEAST_JUDGED = 200
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Round:
    """Rows of a sample, int [..]: those that a head learns from, and those that judge it."""

    learnt: NDArray[np.int64]
    judged: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trial:
    """A sample and the rounds in which heads are learnt and judged.

    Attributes:
        sample: all images.
        rounds: no image judges twice, and none judges a head that has learnt from it.
        folds: how many rounds are folds of one sample. 0 if there are validation images.
    """

    sample: Sample
    rounds: tuple[Round, ...]
    folds: int

    @property
    def judged(self) -> NDArray[np.int64]:
        """The rows that judge, round after round."""
        return np.concatenate([each.judged for each in self.rounds])

    @property
    def judged_labels(self) -> Labels:
        return self.sample.labels[self.judged]


def set_trial(train: Sample, val: Sample) -> Trial:
    """Learn from train and judge by val; below `LEAST_JUDGED` val images by folds over both."""
    both = join(train, val)
    if val.images < LEAST_JUDGED:
        return set_folds(both)
    rows = np.arange(both.images)
    split = Round(learnt=rows[: train.images], judged=rows[train.images :])
    return Trial(sample=both, rounds=(split,), folds=0)


def set_folds(sample: Sample, folds: int = FOLDS) -> Trial:
    """Judge each image by a head that has learnt from the other folds."""
    places = assign_folds(sample.labels, folds)
    rounds = []
    for fold in range(folds):
        judged = np.flatnonzero(places == fold)
        learnt = np.flatnonzero(places != fold)
        # With fewer images than folds some folds are empty, and one image alone teaches nothing.
        if judged.size and learnt.size:
            rounds.append(Round(learnt=learnt, judged=judged))
    return Trial(sample=sample, rounds=tuple(rounds), folds=folds)


def assign_folds(labels: Labels, folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each image, int [n].

    The images of a class go to the folds in turn, in the order given. The first image of a class
    goes where the last class ended. So sizes differ by at most one, in each class and on the
    whole, and small classes do not all end up in the first fold.
    """
    order = np.argsort(labels, kind="stable")
    places = np.empty(len(labels), np.int64)
    places[order] = np.arange(len(labels)) % folds
    return places
