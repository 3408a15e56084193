"""Which candidate wins: the best on the validation images, unless a cheaper one is as good."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from job.evaluation import compute_calibrated_loss
from job.linear import LEAST_JUDGED
from job.plurals import format_count
from job.scores import Labels, score

# A candidate that is worse by more than this is not as good as the best.
MOST_GIVEN_AWAY = 0.01
# A candidate whose error is so many times that of a solved head hardly arrives there.
OUT_OF_REACH = 2.0
# From this ratio of the largest to the smallest class on, each class counts the same.
UNBALANCED = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """A trained candidate.

    Attributes:
        name: of the candidate.
        work: that it cost.
        logits: of the validation images, float32 [n, classes].
    """

    name: str
    work: float
    logits: np.ndarray


@dataclass(frozen=True, slots=True)
class Winner:
    """The name of the candidate that won, and a sentence why."""

    name: str
    reason: str


def choose_metric(metric: str, labels: Labels) -> str:
    """The metric that compares candidates: the gate's, but never plain accuracy of unequal classes.

    Args:
        metric: of the gate.
        labels: of the training images.
    """
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    if metric == "accuracy" and counts.max() > UNBALANCED * counts.min():
        return "balanced_accuracy"
    return metric


def choose_winner(judged: Sequence[Judged], labels: Labels, metric: str) -> Winner:
    """Choose the candidate with the best score, or the cheapest that is as good.

    As good means: worse by at most one standard error of the paired difference. Where enough images
    judge, it also means: worse by at most `MOST_GIVEN_AWAY`. Few images cannot show so small a
    difference, and little data speak for the candidate that changes least. Among equal scores the
    lower loss after calibration is better.

    Args:
        judged: at least one.
        labels: of the validation images, int [n].
        metric: a key of `METRICS`.
    """
    scores = {one.name: score(metric, labels, one.logits) for one in judged}
    best = max(
        judged, key=lambda one: (scores[one.name], -compute_calibrated_loss(labels, one.logits))
    )
    images = format_count(len(labels), "validation image")
    unit = f"{metric.replace('_', ' ')} on {images}"
    top = f"{best.name} reaches {scores[best.name]:.3f}"
    for one in sorted(judged, key=lambda one: one.work):
        if one.work >= best.work:
            break
        behind = scores[best.name] - scores[one.name]
        error = compute_paired_error(one.logits, best.logits, labels, metric)
        if len(labels) >= LEAST_JUDGED:
            error = min(error, MOST_GIVEN_AWAY)
        if behind <= error:
            own = f"{one.name} reaches {scores[one.name]:.3f}"
            return Winner(
                one.name,
                f"{own} and {top} ({unit}). That is within one standard error, and {one.name} is "
                "cheaper.",
            )
    others = [scores[one.name] for one in judged if one is not best]
    if not others:
        return Winner(best.name, "The budget allows no other candidate.")
    return Winner(best.name, f"{top}, the next best candidate {max(others):.3f} ({unit}).")


def is_out_of_reach(value: float, leader: float, images: int) -> bool:
    """Whether a candidate in the middle of its training is too far behind to go on with.

    In its first steps a candidate loses much of what its solved head knew, and learns it again
    later. So it is compared by errors and not by points: a solved head that is often wrong leaves
    room. On the suite (docs/figures.md), the pilot had at most 1.7 times the errors of the best
    solved head where retraining paid or came close. Where a solved head stayed far ahead it was
    more than 2.2 times.

    Args:
        value: the score of the candidate, 0 to 1.
        leader: that of the best solved head.
        images: that judge.
    """
    # Below half an image an error cannot be told from none.
    least = 0.5 / images
    return 1 - value + least > OUT_OF_REACH * (1 - leader + least)


def compute_paired_error(one: np.ndarray, other: np.ndarray, labels: Labels, metric: str) -> float:
    """The standard error of the difference between two scores on the same images.

    For macro-F1 it is that of the balanced accuracy, which is close to it.

    Args:
        one: logits float32 [n, classes].
        other: the same of another candidate.
        labels: int [n].
        metric: a key of `METRICS`.
    """
    difference = (one.argmax(axis=1) == labels).astype(float)
    difference -= other.argmax(axis=1) == labels
    if metric == "accuracy":
        return float(difference.std() / np.sqrt(len(labels)))
    counts = np.bincount(labels)
    classes = np.flatnonzero(counts)
    variance = 0.0
    for label in classes:
        variance += difference[labels == label].var() / counts[label]
    return float(np.sqrt(variance) / len(classes))
