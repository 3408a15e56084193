"""Rules that choose one of several fitted candidates by the validation images alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import rankdata

from job.evaluation import compute_calibrated_loss
from job.scores import log_loss, score

# From this ratio of the largest class to the smallest on, accuracy hides what a small one loses.
UNBALANCED_RATIO = 3
# How many points of the score a cheaper candidate may lose, whatever the standard error is.
MOST_POINTS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fitted candidate, judged on the validation images.

    Attributes:
        name: for people.
        logits: of the validation images, float32 [n, classes].
        work: what it costs, in any unit.
    """

    name: str
    logits: np.ndarray
    work: float


Rule = Callable[[Sequence[Candidate], np.ndarray], Candidate]


def choose_metric(labels: np.ndarray) -> str:
    """Choose the score that judges candidates: balanced accuracy where classes are unbalanced.

    Args:
        labels: of the validation images, int [n].
    """
    counts = np.bincount(labels)
    present = counts[counts > 0]
    if present.max() > UNBALANCED_RATIO * present.min():
        return "balanced_accuracy"
    return "accuracy"


def choose_candidate(
    candidates: Sequence[Candidate],
    labels: np.ndarray,
    errors: float = 1.0,
    most: float = MOST_POINTS,
) -> Candidate:
    """Choose the candidate with the best validation score, or a cheaper one that is as good.

    Of equal scores the lower loss is better. A cheaper candidate is as good if it is worse by at
    most the standard error of the paired difference, and by at most one point. Of several, the
    cheapest is chosen.

    Args:
        candidates: at least one.
        labels: of the validation images, int [n].
        errors: how many standard errors.
        most: how many hundredths, as a share.
    """
    metric = choose_metric(labels)

    def rank_candidate(candidate: Candidate) -> tuple[float, float]:
        return score(metric, labels, candidate.logits), -log_loss(labels, candidate.logits)

    best = max(candidates, key=rank_candidate)
    for candidate in sorted(candidates, key=lambda each: each.work):
        if candidate.work >= best.work:
            break
        lost, error = compare_candidates(best, candidate, labels, metric)
        if lost <= min(errors * error, most):
            return candidate
    return best


def compare_candidates(
    one: Candidate, other: Candidate, labels: np.ndarray, metric: str
) -> tuple[float, float]:
    """Compare two candidates on the same images.

    Args:
        one: the first.
        other: the second.
        labels: of the validation images, int [n].
        metric: `accuracy` or `balanced_accuracy`.

    Returns:
        (by how much the first scores higher, the standard error of this difference)
    """
    gains = np.subtract(
        one.logits.argmax(axis=1) == labels,
        other.logits.argmax(axis=1) == labels,
        dtype=np.float64,
    )
    strata = [gains]
    if metric == "balanced_accuracy":
        # The mean of the classes, each of which is a sample of its own.
        strata = [gains[labels == label] for label in np.unique(labels)]
    difference = np.mean([stratum.mean() for stratum in strata])
    variances = []
    for stratum in strata:
        # One image has no deviation from itself.
        spread = stratum.var(ddof=1) if len(stratum) > 1 else 1.0
        variances.append(spread / len(stratum))
    return float(difference), float(np.sqrt(np.sum(variances)) / len(strata))


def choose_by_score(candidates: Sequence[Candidate], labels: np.ndarray) -> Candidate:
    """Choose the best validation score, and of equal ones the lower loss, whatever it costs."""
    metric = choose_metric(labels)
    return max(
        candidates,
        key=lambda each: (
            score(metric, labels, each.logits),
            -log_loss(labels, each.logits),
        ),
    )


def choose_by_loss(candidates: Sequence[Candidate], labels: np.ndarray) -> Candidate:
    """Choose the lowest validation loss."""
    return min(candidates, key=lambda each: log_loss(labels, each.logits))


def choose_by_calibrated_loss(candidates: Sequence[Candidate], labels: np.ndarray) -> Candidate:
    """Choose the lowest validation loss after each candidate has got its own temperature."""
    return min(candidates, key=lambda each: compute_calibrated_loss(labels, each.logits))


def choose_by_ranks(candidates: Sequence[Candidate], labels: np.ndarray) -> Candidate:
    """Choose the best mean of two ranks, by score and by loss; of equal ones the cheaper."""
    metric = choose_metric(labels)
    scores = rankdata([-score(metric, labels, each.logits) for each in candidates])
    losses = rankdata([log_loss(labels, each.logits) for each in candidates])
    order = [
        (by_score + by_loss, candidate.work, place)
        for place, (by_score, by_loss, candidate) in enumerate(
            zip(scores, losses, candidates, strict=True)
        )
    ]
    return candidates[min(order)[2]]


# The first one is the rule of the race.
RULES: Mapping[str, Rule] = {
    "one standard error, at most 1 point": choose_candidate,
    "one standard error, at most 2 points": partial(choose_candidate, most=0.02),
    "one standard error": partial(choose_candidate, most=1.0),
    "half a standard error, at most 1 point": partial(choose_candidate, errors=0.5),
    "best score": choose_by_score,
    "lowest loss": choose_by_loss,
    "lowest loss after calibration": choose_by_calibrated_loss,
    "mean of the ranks": choose_by_ranks,
}
