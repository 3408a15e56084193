"""How far the model's confidence can be believed, and from which confidence on it should answer alone.

Temperature and expected calibration error follow Guo et al. 2017, "On Calibration of Modern Neural
Networks" (arXiv 1706.04599).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from job.evaluation.scores import Probabilities, wilson
from job.scores import Labels

BINS = 15
LEAST_IMAGES = 10
TEMPERATURES = (0.05, 20.0)
THRESHOLDS = (*(step / 20 for step in range(20)), 0.99)
TARGETS = (0.9, 0.95, 0.99)


def calibrate(logits: NDArray[np.float32], labels: Labels) -> float:
    """Fit the temperature that divides the logits, by the negative log-likelihood of the validation images.

    Args:
        logits: float32 [n, classes], before softmax.
        labels: int [n].

    Returns:
        The temperature, within `TEMPERATURES`. 1.0 for fewer than `LEAST_IMAGES` images, and where
        the likelihood only grows towards temperature 0, as it does when every image is right: that
        says nothing about how sure to be.
    """
    if len(labels) < LEAST_IMAGES:
        return 1.0
    exact = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(exact / np.exp(log_temperature), axis=1)[rows, labels].mean())

    bounds = np.log(TEMPERATURES)
    fitted = float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
    return fitted if fitted > 1.01 * TEMPERATURES[0] else 1.0


def reliability(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """Sort the images into 15 bins of equal width by confidence; in each, confidence and accuracy should agree.

    Returns:
        One row a bin that holds an image: low and high (the bin is open at low), images,
        confidence, accuracy.
    """
    confidence, right = _confidence(labels, probabilities)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        {
            "low": int(index) / BINS,
            "high": (int(index) + 1) / BINS,
            "images": int((bins == index).sum()),
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(right[bins == index].mean()),
        }
        for index in np.unique(bins)
    ]


def calibration_error(bins: list[dict[str, Any]]) -> float | None:
    """The mean gap between confidence and accuracy over `reliability`'s bins, weighted by images (ECE)."""
    images = sum(row["images"] for row in bins)
    if images == 0:
        return None
    return float(
        sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / images
    )


def coverage(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """At each threshold of confidence: the share of images that is answered, and how many answers are right."""
    confidence, right = _confidence(labels, probabilities)
    return [
        _kept(threshold, right[confidence >= threshold], len(labels)) for threshold in THRESHOLDS
    ]


def abstention(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """For each of `TARGETS`: the lowest threshold at which the answers given are right so often.

    A target that no threshold reaches is left out.
    """
    confidence, right = _confidence(labels, probabilities)
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], right[order].cumsum()
    # Images of equal confidence are kept or left together: only the last of them ends a choice.
    ends = np.flatnonzero(np.diff(ranked, append=-1.0) < 0)
    rows = []
    for target in TARGETS:
        good = ends[hits[ends] / (ends + 1) >= target]
        if good.size:
            last = good[-1]
            rows.append(
                {
                    "target": target,
                    **_kept(float(ranked[last]), right[order[: last + 1]], len(labels)),
                }
            )
    return rows


def _confidence(
    labels: Labels, probabilities: Probabilities
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    confidence = probabilities.max(axis=1, initial=0).astype(np.float64)
    return confidence, probabilities.argmax(axis=1) == labels


def _kept(threshold: float, right: NDArray[np.bool_], images: int) -> dict[str, Any]:
    low, high = wilson(int(right.sum()), len(right))
    return {
        "threshold": threshold,
        "images": len(right),
        "coverage": len(right) / max(images, 1),
        "accuracy": float(right.mean()) if len(right) else None,
        "accuracy_low": low,
        "accuracy_high": high,
    }
