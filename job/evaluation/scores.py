"""How often the model is right: overall with an interval, class by class, and against another model."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from job.scores import METRICS, Labels, Tally, mean

Probabilities = NDArray[np.float32]

TOP = 5
RESAMPLES = 2000
BOOTSTRAP_SEED = 20_170_621


class Paired(NamedTuple):
    """Two models on the same images; `low` and `high` bound challenger - champion with 95 % confidence."""

    challenger: float
    champion: float
    low: float
    high: float
    images: int


def scores(labels: Labels, probabilities: Probabilities, classes: Sequence[str]) -> dict[str, Any]:
    """Measure one model on one set of images.

    Args:
        labels: int [n], indices into `classes`.
        probabilities: float32 [n, classes].
        classes: the names, in the order of the columns.

    Returns:
        JSON-able: images, accuracy with its 95 % Wilson interval (accuracy_low, accuracy_high),
        top_k with its k, balanced_accuracy, macro_f1, log_loss in nats (None without images),
        per_class (None where there is nothing to divide by) and confusion (the cells that are not
        empty, by name). Without images each share is 0.0 in an interval from 0 to 1: a gate stays
        shut.
    """
    predicted = probabilities.argmax(axis=1)
    tally = Tally.of(labels, predicted, len(classes))
    low, high = wilson(int(tally.hits.sum()), len(labels))
    k = min(TOP, max(len(classes) - 1, 1))
    return {
        "images": len(labels),
        **{name: metric(tally) for name, metric in METRICS.items()},
        "accuracy_low": low,
        "accuracy_high": high,
        "k": k,
        "top_k": _top(labels, probabilities, k),
        "log_loss": _log_loss(labels, probabilities),
        "per_class": _per_class(tally, classes),
        "confusion": _confusion(labels, predicted, classes),
    }


def paired(
    labels: Labels, challenger: Probabilities, champion: Probabilities, metric: str
) -> Paired:
    """Compare two models on the same images: both scores and the 95 % paired bootstrap interval of their difference.

    Args:
        labels: int [n], indices into the columns.
        challenger: probabilities float32 [n, classes].
        champion: the same, in the same order of classes. A row without any mass (the champion knows
            none of these classes) is an error, whatever its label.
        metric: a key of `METRICS`.
    """
    width = challenger.shape[1]
    score = METRICS[metric]
    calls = [_calls(challenger), _calls(champion)]

    def both(rows: Labels) -> tuple[float, float]:
        ours, theirs = (score(Tally.of(labels[rows], called[rows], width)) for called in calls)
        return ours, theirs

    images = len(labels)
    if images == 0:
        return Paired(0.0, 0.0, -1.0, 1.0, 0)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    draws = np.array([both(generator.integers(images, size=images)) for _ in range(RESAMPLES)])
    low, high = np.quantile(draws[:, 0] - draws[:, 1], [0.025, 0.975])
    ours, theirs = both(np.arange(images))
    return Paired(ours, theirs, float(low), float(high), images)


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which stays honest for few images and near 0 and 1."""
    if images == 0:
        return 0.0, 1.0
    interval = binomtest(hits, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _calls(probabilities: Probabilities) -> Labels:
    has_mass = np.nan_to_num(probabilities).max(axis=1, initial=0) > 0
    return np.where(has_mass, probabilities.argmax(axis=1), probabilities.shape[1])


def _top(labels: Labels, probabilities: Probabilities, k: int) -> float:
    own = probabilities[np.arange(len(labels)), labels][:, None]
    is_earlier = (
        np.arange(probabilities.shape[1]) < labels[:, None]
    )  # among equals the first wins, as with argmax
    rank = ((probabilities > own) | ((probabilities == own) & is_earlier)).sum(axis=1)
    return mean(rank < k)


def _log_loss(labels: Labels, probabilities: Probabilities) -> float | None:
    if len(labels) == 0:
        return None
    # scikit-learn's log_loss would make a dense matrix of the labels; this clips as it does.
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).eps)).mean())


def _per_class(tally: Tally, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "support": support,
            "precision": hits / called if called else None,
            "recall": hits / support if support else None,
            "f1": 2 * hits / (support + called) if support else None,
        }
        for name, hits, support, called in zip(
            classes, *(counts.tolist() for counts in tally), strict=True
        )
    ]


def _confusion(labels: Labels, predicted: Labels, classes: Sequence[str]) -> list[dict[str, Any]]:
    cells, counts = np.unique(np.stack([labels, predicted], axis=1), axis=0, return_counts=True)
    return [
        {"true": classes[true], "predicted": classes[called], "images": int(count)}
        for (true, called), count in zip(cells, counts, strict=True)
    ]
