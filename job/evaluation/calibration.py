"""Measure how far the model's confidence can be trusted, and from which confidence to answer.

Temperature and expected calibration error follow Guo et al. 2017, "On Calibration of Modern Neural
Networks" (arXiv 1706.04599).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from job.evaluation.scores import Probabilities, compute_wilson_interval
from job.scores import Labels

# Bins of confidence, of equal width, as in the paper.
BINS = 15
# A temperature fitted on fewer images would be noise.
LEAST_IMAGES = 10
# Bounds of the temperature.
TEMPERATURES = (0.05, 20.0)
# Thresholds of confidence at which the coverage is computed.
THRESHOLDS = (*(step / 20 for step in range(20)), 0.99)
# Accuracies of the given answers for which a threshold is searched.
TARGETS = (0.9, 0.95, 0.99)


def fit_temperature(logits: NDArray[np.float32], labels: Labels) -> float:
    """Fit the temperature that divides the logits, by the validation images' log-likelihood.

    Args:
        logits: float32 [n, classes], before softmax.
        labels: int [n].

    Returns:
        The temperature, within `TEMPERATURES`. It is 1.0 for fewer than `LEAST_IMAGES` images. It
        is 1.0 too where the likelihood only grows towards temperature 0, as it does when every
        image is right: such images do not show how confident the model should be.
    """
    if len(labels) < LEAST_IMAGES:
        return 1.0
    exact = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def compute_loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(exact / np.exp(log_temperature), axis=1)
        return float(-log_probabilities[rows, labels].mean())

    # On a logarithmic scale halving and doubling are steps of the same size.
    bounds = np.log(TEMPERATURES)
    optimum = minimize_scalar(compute_loss, bounds=bounds, method="bounded")
    temperature = float(np.exp(optimum.x))
    # The bounded search stops just above the bound, never on it.
    is_at_lower_bound = temperature <= 1.01 * TEMPERATURES[0]
    return 1.0 if is_at_lower_bound else temperature


def compute_reliability(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """Sort the images into 15 bins of equal width by confidence, and measure each bin.

    In a calibrated model, confidence and accuracy agree in every bin.

    Returns:
        One row per bin that holds an image: low and high (the bin is open at low), images,
        confidence, accuracy.
    """
    confidence, is_right = _find_top_answers(labels, probabilities)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    rows = []
    for index in np.unique(bins):
        in_bin = bins == index
        rows.append(
            {
                "low": int(index) / BINS,
                "high": (int(index) + 1) / BINS,
                "images": int(in_bin.sum()),
                "confidence": float(confidence[in_bin].mean()),
                "accuracy": float(is_right[in_bin].mean()),
            }
        )
    return rows


def compute_calibration_error(bins: list[dict[str, Any]]) -> float | None:
    """Compute the expected calibration error (ECE); None without images.

    It is the mean gap between confidence and accuracy over the bins of `compute_reliability`,
    weighted by their images.
    """
    images = 0
    weighted_gap = 0.0
    for row in bins:
        images += row["images"]
        weighted_gap += row["images"] * abs(row["accuracy"] - row["confidence"])
    if images == 0:
        return None
    return float(weighted_gap / images)


def compute_coverage(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """Measure the answers above each threshold: their share of the images and their accuracy."""
    confidence, is_right = _find_top_answers(labels, probabilities)
    rows = []
    for threshold in THRESHOLDS:
        answers = is_right[confidence >= threshold]
        rows.append(_measure_answers(threshold, answers, len(labels)))
    return rows


def find_abstention_thresholds(
    labels: Labels, probabilities: Probabilities
) -> list[dict[str, Any]]:
    """Find the lowest threshold for each of `TARGETS` at which the answers reach that accuracy.

    A target that no threshold reaches is left out.
    """
    confidence, is_right = _find_top_answers(labels, probabilities)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    hits = is_right[order].cumsum()
    # A threshold keeps or drops all images of equal confidence: only the last of them can be a cut.
    cuts = np.flatnonzero(np.diff(ranked, append=-1.0) < 0)
    accuracies = hits[cuts] / (cuts + 1)

    rows = []
    for target in TARGETS:
        reaching = cuts[accuracies >= target]
        if reaching.size:
            last = reaching[-1]
            answers = is_right[order[: last + 1]]
            row = _measure_answers(float(ranked[last]), answers, len(labels))
            rows.append({"target": target, **row})
    return rows


def _find_top_answers(
    labels: Labels, probabilities: Probabilities
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability of each image's best class, and whether that class is right."""
    confidence = probabilities.max(axis=1, initial=0).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == labels
    return confidence, is_right


def _measure_answers(threshold: float, is_right: NDArray[np.bool_], images: int) -> dict[str, Any]:
    """Describe the answers that a threshold leaves of so many images."""
    low, high = compute_wilson_interval(int(is_right.sum()), len(is_right))
    return {
        "threshold": threshold,
        "images": len(is_right),
        "coverage": len(is_right) / max(images, 1),
        "accuracy": float(is_right.mean()) if len(is_right) else None,
        "accuracy_low": low,
        "accuracy_high": high,
    }
