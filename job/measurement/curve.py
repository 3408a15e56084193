"""The learning curve: the score of a solved head on a share of the training images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.linear import Head, RotatedTrial, Round
from job.scores import Labels, score

SHARES = (0.1, 0.2, 0.4, 0.8, 1.0)
DRAWS = 5
SEED = 20_170_621


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Scores of heads that learnt from so many images.

    Attributes:
        images: how many they learnt from.
        scores: one for each draw. One alone where all images are taken, since draws are then equal.
    """

    images: int
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean of the draws."""
        return sum(self.scores) / len(self.scores)


def measure_curve(
    rotated: RotatedTrial, metric: str, penalty: float, values: Sequence[float]
) -> tuple[CurvePoint, ...]:
    """Solve heads on shares of the images that are learnt from.

    Args:
        rotated: the trial. What judges stays whole.
        metric: a key of `METRICS`.
        penalty: one for all. It is divided by the images, so it means the same for few of them.
        values: one factor for each group.
    """
    rounds = rotated.trial.rounds
    labels = rotated.trial.sample.labels
    learnt = [each.learnt for each in rounds]
    # Folds differ in size by one or two images.
    images = min(map(len, learnt))
    sizes = [max(round(share * images), 1) for share in SHARES]
    scores: dict[int, list[float]] = {size: [] for size in sizes}
    for draw in range(DRAWS):
        generator = np.random.default_rng([SEED, draw])
        orders = [rows[order_by_class(labels[rows], generator)] for rows in learnt]
        heads: tuple[Head, ...] = ()
        # From few to many: a head must not start from one that has seen more images.
        for size in sorted(set(sizes) - {images}):
            fewer = []
            for each, order in zip(rounds, orders, strict=True):
                fewer.append(Round(learnt=np.sort(order[:size]), judged=each.judged))
            logits, heads = rotated.judge(penalty, values, fewer, heads)
            scores[size].append(score(metric, rotated.labels, logits))
    logits, _ = rotated.judge(penalty, values, starts=heads)
    scores[images] = [score(metric, rotated.labels, logits)]
    return tuple(CurvePoint(size, tuple(scores[size])) for size in sorted(scores))


def order_by_class(labels: Labels, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return positions of the images in a random order of which each start is stratified, int [n].

    It begins with one image of each class.
    """
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    sorted_labels = labels[by_class]
    # How far into its class an image is, 0 for the first one.
    depth = (np.arange(len(labels)) - starts[sorted_labels]) / counts[sorted_labels]
    # Of equals any order would do, but not that of the classes.
    return by_class[np.lexsort((generator.random(len(labels)), depth))]


def predict_gain(curve: Sequence[CurvePoint], judged: int) -> float:
    """Predict what twice the images would add to the score.

    Args:
        curve: from few images to many.
        judged: how many images judge.
    """
    images = np.array([point.images for point in curve], np.float64)
    # Below half an image an error cannot be told from none.
    errors = np.array([max(1 - point.score, 0.5 / judged) for point in curve])
    scale, exponent = fit_power_law(images, errors)
    now, twice = (scale * count**-exponent for count in (images[-1], 2 * images[-1]))
    return float(now - twice)


def fit_power_law(images: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Fit error = b * images ** -c in logarithms, and return b and c, which is not below 0.

    Larger sets count more: the law holds for them, and it is their neighbourhood that matters.
    (Hestness et al. 2017, arXiv 1712.00409.)
    """
    weights = np.sqrt(images / images.max())
    if len(np.unique(images)) < 2:
        return float(errors.mean()), 0.0
    slope, level = np.polyfit(np.log(images), np.log(errors), 1, w=weights)
    if slope > 0:
        return float(np.average(errors, weights=weights)), 0.0
    return float(np.exp(level)), float(-slope)
