"""The scores of the gate: one definition for early stopping, the report and the champion.

They work on counts per class and never on a dense confusion matrix, so that 20,000 classes cost no
more than their images. A class without images has no recall and is not part of any mean.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, ndtri

Labels = NDArray[np.int64]
# So many standard deviations on both sides hold 95 % of a normal distribution.
DEVIATIONS = float(ndtri(0.975))


class Tally(NamedTuple):
    """Images per class, each int [classes]: labelled, predicted, and both at once (hits)."""

    hits: Labels
    support: Labels
    predicted: Labels

    @classmethod
    def of(cls, labels: Labels, predicted: Labels, width: int) -> "Tally":
        """Count the images of `width` classes.

        Args:
            labels: int [n].
            predicted: int [n]; `width` means none of the classes.
            width: the number of classes.
        """
        is_hit = labels == predicted
        predictions = np.bincount(predicted, minlength=width)
        return cls(
            hits=np.bincount(labels[is_hit], minlength=width),
            support=np.bincount(labels, minlength=width),
            # Cut, because predictions of no class are counted at the index `width`.
            predicted=predictions[:width],
        )


def accuracy(tally: Tally) -> float:
    """Return the share of images that are predicted as their own class."""
    hits = tally.hits.sum()
    images = tally.support.sum()
    # Of no image at all nothing is right.
    return float(hits / max(images, 1))


def balanced_accuracy(tally: Tally) -> float:
    """Return the mean recall of the classes that are present."""
    present = tally.support > 0
    recalls = tally.hits[present] / tally.support[present]
    return mean(recalls)


def macro_f1(tally: Tally) -> float:
    """Return the mean F1 of the classes that are present."""
    # A prediction of an absent class costs the recall of the class that it missed.
    present = tally.support > 0
    called = tally.support + tally.predicted
    f1 = 2 * tally.hits[present] / called[present]
    return mean(f1)


METRICS: Mapping[str, Callable[[Tally], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def score(metric: str, labels: Labels, outputs: NDArray[np.float32]) -> float:
    """Return a metric of int labels [n] and logits or probabilities [n, classes]."""
    predicted = outputs.argmax(axis=1)
    tally = Tally.of(labels, predicted, width=outputs.shape[1])
    return METRICS[metric](tally)


def log_loss(labels: Labels, logits: NDArray[np.float32]) -> float:
    """Return the mean negative log likelihood in nats of int labels [n], logits [n, classes]."""
    rows = np.arange(len(labels))
    # In double precision, or the sum over many images would lose the last digits.
    exact = logits.astype(np.float64)
    log_likelihoods = log_softmax(exact, axis=1)[rows, labels]
    return float(-log_likelihoods.mean())


def mean(values: NDArray[np.float64]) -> float:
    """Return the mean, and 0.0 of nothing."""
    if not values.size:
        return 0.0
    return float(values.mean())


def compute_wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share (Wilson 1927).

    Unlike the normal approximation it holds for few images and for shares near 0 and 1.
    """
    # By hand, because to import `scipy.stats` takes longer than everything else of SciPy.
    if images == 0:
        return 0.0, 1.0
    share = hits / images
    squared = DEVIATIONS**2
    divisor = 2 * (images + squared)
    centre = (2 * images * share + squared) / divisor
    spread = DEVIATIONS / divisor * math.sqrt(4 * images * share * (1 - share) + squared)
    low = 0.0 if hits == 0 else centre - spread
    high = 1.0 if hits == images else centre + spread
    return low, high
