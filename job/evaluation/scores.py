"""Measure how often a model is right: overall, class by class, and against another model."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from job.scores import METRICS, Labels, Tally, compute_wilson_interval, mean

Probabilities = NDArray[np.float32]

# The k of the top-k accuracy where there are more than k classes.
TOP_K = 5
# Resamples of the paired bootstrap. The fixed seed gives equal inputs equal intervals.
RESAMPLES = 2000
BOOTSTRAP_SEED = 20_170_621


class PairedComparison(NamedTuple):
    """Scores of two models on the same images.

    `low` and `high` bound the difference challenger - champion with 95 % confidence.
    """

    challenger: float
    champion: float
    low: float
    high: float
    images: int


def compute_scores(
    labels: Labels,
    probabilities: Probabilities,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Measure one model on one set of images.

    Args:
        labels: int [n], indices into `classes`.
        probabilities: float32 [n, classes].
        classes: the names, in the order of the columns.

    Returns:
        JSON-able: images, accuracy with its 95 % Wilson interval (accuracy_low, accuracy_high),
        top_k with its k, balanced_accuracy, macro_f1, log_loss in nats (None without images),
        per_class (precision and recall with their intervals, and F1, None where the divisor is 0)
        and confusion (the cells that are not empty, by name). Without images each share is 0.0 in
        an interval from 0 to 1, so the gate is not passed.
    """
    predicted = probabilities.argmax(axis=1)
    tally = Tally.of(labels, predicted, len(classes))
    low, high = compute_wilson_interval(int(tally.hits.sum()), len(labels))
    # A k that covers every class would make every answer right.
    k = min(TOP_K, max(len(classes) - 1, 1))
    gate_scores = {}
    for name, metric in METRICS.items():
        gate_scores[name] = metric(tally)

    # Counted as pairs: a dense matrix of 20,000 classes would not fit into memory.
    pairs = np.stack([labels, predicted], axis=1)
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    confusion = []
    for (true, called), images in zip(cells, counts, strict=True):
        confusion.append(
            {
                "true": classes[true],
                "predicted": classes[called],
                "images": int(images),
            }
        )
    return {
        "images": len(labels),
        **gate_scores,
        "accuracy_low": low,
        "accuracy_high": high,
        "k": k,
        "top_k": compute_top_k_accuracy(labels, probabilities, k),
        "log_loss": compute_log_loss(labels, probabilities),
        "per_class": _list_class_scores(tally, classes),
        "confusion": confusion,
    }


def compare_paired(
    labels: Labels,
    challenger: Probabilities,
    champion: Probabilities,
    metric: str,
) -> PairedComparison:
    """Compare two models on the same images by the 95 % paired bootstrap interval.

    Args:
        labels: int [n], indices into the columns.
        challenger: probabilities float32 [n, classes].
        champion: the same, in the same order of classes. A row whose probabilities are all 0 counts
            as an error whatever its label: the champion knows none of these classes.
        metric: a key of `METRICS`.
    """
    images = len(labels)
    if images == 0:
        # Any difference between two scores is possible.
        return PairedComparison(
            challenger=0.0,
            champion=0.0,
            low=-1.0,
            high=1.0,
            images=0,
        )

    classes = challenger.shape[1]
    score = METRICS[metric]
    challenger_calls = _predict_classes(challenger)
    champion_calls = _predict_classes(champion)

    def score_both(rows: Labels) -> tuple[float, float]:
        true = labels[rows]
        challenger_tally = Tally.of(true, challenger_calls[rows], classes)
        champion_tally = Tally.of(true, champion_calls[rows], classes)
        return score(challenger_tally), score(champion_tally)

    generator = np.random.default_rng(BOOTSTRAP_SEED)
    differences = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        # One resample for both models: what makes an image hard cancels out.
        rows = generator.integers(images, size=images)
        ours, theirs = score_both(rows)
        differences[index] = ours - theirs
    low, high = np.quantile(differences, [0.025, 0.975])

    ours, theirs = score_both(np.arange(images))
    return PairedComparison(
        challenger=ours,
        champion=theirs,
        low=float(low),
        high=float(high),
        images=images,
    )


def compute_top_k_accuracy(labels: Labels, probabilities: Probabilities, k: int) -> float:
    """Compute how often the true class is among the k classes with the highest probabilities."""
    # As columns, so that each is compared with its whole row.
    true = labels[:, None]
    own = np.take_along_axis(probabilities, true, axis=1)
    # Among equal probabilities the first class wins, as with argmax.
    is_earlier = np.arange(probabilities.shape[1]) < true
    is_equal = probabilities == own
    is_ahead = (probabilities > own) | (is_equal & is_earlier)
    classes_ahead = is_ahead.sum(axis=1)
    return mean(classes_ahead < k)


def compute_log_loss(labels: Labels, probabilities: Probabilities) -> float | None:
    """Compute the mean negative log-likelihood in nats; None without images."""
    if len(labels) == 0:
        return None
    rows = np.arange(len(labels))
    own = probabilities[rows, labels].astype(np.float64)
    # scikit-learn's log_loss would build a dense matrix of the labels. This clips as it does.
    least = np.finfo(np.float32).eps
    log_likelihoods = np.log(np.maximum(own, least))
    return float(-log_likelihoods.mean())


def _predict_classes(probabilities: Probabilities) -> Labels:
    """Return int [n]: the best class, or the number of classes for a row without any mass."""
    no_class = probabilities.shape[1]
    # A NaN counts as no mass: it names no class.
    largest = np.nan_to_num(probabilities).max(axis=1, initial=0)
    return np.where(largest > 0, probabilities.argmax(axis=1), no_class)


def _list_class_scores(tally: Tally, classes: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(classes):
        # As Python's own numbers, which JSON can hold.
        hits = int(tally.hits[index])
        support = int(tally.support[index])
        called = int(tally.predicted[index])
        rows.append(
            {
                "name": name,
                "support": support,
                **_measure_share("precision", hits, called),
                **_measure_share("recall", hits, support),
                "f1": 2 * hits / (support + called) if support else None,
            }
        )
    return rows


def _measure_share(name: str, hits: int, images: int) -> dict[str, float | None]:
    """Return a share and the bounds of its 95 % Wilson interval, all None where there is none."""
    if not images:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = compute_wilson_interval(hits, images)
    return {name: hits / images, f"{name}_low": low, f"{name}_high": high}
