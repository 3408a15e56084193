"""The scores that gate: one definition for early stopping, the report and the comparison with the champion.

They work on counts per class and never on a dense confusion matrix, so that 20,000 classes cost no
more than their images. A class without an image has no recall and is no part of any mean.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

Labels = NDArray[np.int64]


class Tally(NamedTuple):
    """Images per class: truly of it (support), called it (predicted), and both (hits). Each int [classes]."""

    hits: Labels
    support: Labels
    predicted: Labels

    @classmethod
    def of(cls, labels: Labels, predicted: Labels, width: int) -> "Tally":
        """Count int [n] labels and predictions; a prediction equal to `width` stands for no class at all."""
        return cls(
            hits=np.bincount(labels[labels == predicted], minlength=width),
            support=np.bincount(labels, minlength=width),
            predicted=np.bincount(predicted, minlength=width)[:width],
        )


def accuracy(tally: Tally) -> float:
    """The share of images called by their own name."""
    return float(tally.hits.sum() / max(tally.support.sum(), 1))


def balanced_accuracy(tally: Tally) -> float:
    """The mean recall of the classes that are present."""
    present = tally.support > 0
    return mean(tally.hits[present] / tally.support[present])


def macro_f1(tally: Tally) -> float:
    """The mean F1 of the classes that are present; a call of an absent class costs recall where it was wrong."""
    present = tally.support > 0
    return mean(2 * tally.hits[present] / (tally.support + tally.predicted)[present])


METRICS: Mapping[str, Callable[[Tally], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def score(metric: str, labels: Labels, outputs: NDArray[np.float32]) -> float:
    """A metric of int labels [n] and logits or probabilities [n, classes]."""
    return METRICS[metric](Tally.of(labels, outputs.argmax(axis=1), outputs.shape[1]))


def log_loss(labels: Labels, logits: NDArray[np.float32]) -> float:
    """Mean negative log likelihood in nats of int labels [n] under logits [n, classes]."""
    return float(
        -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean()
    )


def mean(values: NDArray[np.float64]) -> float:
    """The mean, 0.0 of nothing."""
    return float(values.mean()) if values.size else 0.0
