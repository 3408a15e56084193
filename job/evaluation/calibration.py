"""Measure how far the model's confidence can be trusted, and from which confidence to answer.

Temperature and expected calibration error follow Guo et al. 2017, "On Calibration of Modern Neural
Networks" (arXiv 1706.04599).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from job.evaluation.scores import Probabilities
from job.scores import Labels, compute_wilson_interval, log_loss

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
        scaled = exact / np.exp(log_temperature)
        log_probabilities = log_softmax(scaled, axis=1)
        log_likelihoods = log_probabilities[rows, labels]
        return float(-log_likelihoods.mean())

    optimum = minimize_scalar(
        compute_loss,
        # On a logarithmic scale halving and doubling are steps of the same size.
        bounds=np.log(TEMPERATURES),
        method="bounded",
    )
    temperature = float(np.exp(optimum.x))
    # The bounded search stops just above the bound, never on it.
    if temperature <= 1.01 * TEMPERATURES[0]:
        return 1.0
    return temperature


def compute_calibrated_loss(labels: Labels, logits: NDArray[np.float32]) -> float:
    """The log loss in nats after calibration, as a model is released.

    What was trained by steps is too confident before.

    Args:
        labels: int [n].
        logits: float32 [n, classes], which are calibrated on these very labels.
    """
    calibrated = (logits / fit_temperature(logits, labels)).astype(np.float32)
    return log_loss(labels, calibrated)


def compute_reliability(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """Sort the images into 15 bins of equal width by confidence, and measure each bin.

    In a calibrated model, confidence and accuracy agree in every bin.

    Returns:
        One row per bin that holds an image: low and high (the bin is open at low), images,
        confidence, accuracy.
    """
    confidence, is_right = _find_top_answers(labels, probabilities)
    bins = np.ceil(confidence * BINS).astype(int) - 1
    # A confidence of 0 would be in the bin below the first one.
    bins = np.clip(bins, 0, BINS - 1)

    rows = []
    for index in np.unique(bins).tolist():
        in_bin = bins == index
        mean_confidence = confidence[in_bin].mean()
        accuracy = is_right[in_bin].mean()
        rows.append(
            {
                "low": index / BINS,
                "high": (index + 1) / BINS,
                "images": int(in_bin.sum()),
                "confidence": float(mean_confidence),
                "accuracy": float(accuracy),
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
        gap = abs(row["accuracy"] - row["confidence"])
        images += row["images"]
        weighted_gap += row["images"] * gap
    if images == 0:
        return None
    return float(weighted_gap / images)


def compute_coverage(labels: Labels, probabilities: Probabilities) -> list[dict[str, Any]]:
    """Measure the answers above each threshold: their share of the images and their accuracy."""
    confidence, is_right = _find_top_answers(labels, probabilities)
    rows = []
    for threshold in THRESHOLDS:
        answers = is_right[confidence >= threshold]
        row = _measure_answers(threshold, answers, len(labels))
        rows.append(row)
    return rows


def find_abstention_thresholds(
    labels: Labels,
    probabilities: Probabilities,
) -> list[dict[str, Any]]:
    """Find the lowest threshold for each of `TARGETS` at which the answers reach that accuracy.

    A target that no threshold reaches is left out.
    """
    confidence, is_right = _find_top_answers(labels, probabilities)
    # From the surest answer on. A stable sort gives equal inputs equal rows.
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    right_ranked = is_right[order]
    hits = right_ranked.cumsum()
    # A threshold keeps or drops all images of equal confidence: only the last of them can be a cut.
    is_last = np.diff(ranked, append=-1.0) < 0
    cuts = np.flatnonzero(is_last)
    accuracies = hits[cuts] / (cuts + 1)

    rows = []
    for target in TARGETS:
        reaching = cuts[accuracies >= target]
        if reaching.size:
            # The last one keeps most images.
            last = reaching[-1]
            threshold = float(ranked[last])
            answers = right_ranked[: last + 1]
            row = _measure_answers(threshold, answers, len(labels))
            rows.append({"target": target, **row})
    return rows


def _find_top_answers(
    labels: Labels,
    probabilities: Probabilities,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability of each image's best class, and whether that class is right."""
    confidence = probabilities.max(axis=1, initial=0).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == labels
    return confidence, is_right


def _measure_answers(threshold: float, is_right: NDArray[np.bool_], images: int) -> dict[str, Any]:
    """Describe the answers that a threshold leaves of so many images."""
    answered = len(is_right)
    low, high = compute_wilson_interval(int(is_right.sum()), answered)
    accuracy = None
    if answered:
        accuracy = float(is_right.mean())
    return {
        "threshold": threshold,
        "images": answered,
        "coverage": answered / max(images, 1),
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
    }
