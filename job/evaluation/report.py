"""Judge a model by its answers on held-out images."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from job.evaluation.calibration import (
    compute_calibration_error,
    compute_coverage,
    compute_reliability,
    find_abstention_thresholds,
    fit_temperature,
)
from job.evaluation.plain_values import list_fields
from job.evaluation.scores import Probabilities, compute_scores
from job.scores import Labels

# `publish` compares two models without TensorFlow, which `audit` imports.
if TYPE_CHECKING:
    from job.audit import Example, Splits

# Mistakes that the report shows at most.
MOST_MISTAKES = 24
# Images that the report shows of each class at most.
MOST_EXAMPLES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A test image that the model calls by a wrong name.

    Attributes:
        path: its file on this machine.
        name: its name in the data set.
        true, predicted: names of classes.
        confidence: the probability of the predicted class.
        evidence: float32 [h, w], where in the square picture something speaks for the predicted
            class rather than for the true one. None where the head does not tell.
    """

    path: Path
    name: str
    true: str
    predicted: str
    confidence: float
    evidence: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured.

    Attributes:
        scores: the figures that a gate, a manifest and a result need, by name.
        temperature: divides the logits of the released model.
        data: everything measured, JSON-able.
        mistakes: the worst ones, the most confident first.
        examples: some images of each class, by its name.
    """

    scores: dict[str, float]
    temperature: float
    data: dict[str, Any]
    mistakes: tuple[Mistake, ...]
    examples: Mapping[str, Sequence["Example"]]

    def with_evidence(self, maps: NDArray[np.float32]) -> "Report":
        """Add the maps of the mistakes: float32 [mistakes, h, w], in their order."""
        mistakes = []
        for mistake, evidence in zip(self.mistakes, maps, strict=True):
            mistakes.append(replace(mistake, evidence=evidence))
        return replace(self, mistakes=tuple(mistakes))


def judge(
    logits_test: NDArray[np.float32],
    logits_val: NDArray[np.float32],
    splits: "Splits",
) -> Report:
    """Measure the trained model on the test images.

    Its temperature is fitted before, on the validation images.

    Args:
        logits_test: float32 [n, classes], rows in the order of `splits.test`.
        logits_val: float32 [m, classes], rows in the order of `splits.val`.
        splits: the images, their labels and the classes.
    """
    temperature = fit_temperature(logits_val, _collect_labels(splits.val))
    uncalibrated = softmax(logits_test, axis=1)
    probabilities = softmax(logits_test / temperature, axis=1)
    commonest = None
    if splits.train:
        # A Counter, because among equal counts it takes the class that comes first in the data.
        counts = Counter(example.label for example in splits.train)
        commonest, _ = counts.most_common(1)[0]
    report = judge_probabilities(probabilities, splits, commonest)

    before = compute_reliability(_collect_labels(splits.test), uncalibrated)
    calibration = report.data["calibration"] | {
        "temperature": temperature,
        "before": {"error": compute_calibration_error(before), "bins": before},
    }
    data = report.data | {"calibration": calibration}
    return replace(report, temperature=temperature, data=data)


def judge_probabilities(
    probabilities: Probabilities, splits: "Splits", commonest: int | None
) -> Report:
    """Measure a model that gives calibrated probabilities, such as a released one.

    Args:
        probabilities: float32 [n, classes], rows in the order of `splits.test`.
        splits: the images, their labels and the classes.
        commonest: the class with most training images, an index into `splits.classes`. None if that
            is not known.
    """
    labels = _collect_labels(splits.test)
    test = compute_scores(labels, probabilities, splits.classes)
    bins = compute_reliability(labels, probabilities)
    error = compute_calibration_error(bins)
    # No temperature divides these probabilities: before and after are the same.
    measured = {"error": error, "bins": bins}
    calibration = {"temperature": 1.0, "before": measured, "after": measured}
    # The accuracy of always naming the class with most training images.
    baseline = 0.0
    if commonest is not None and splits.test:
        baseline = float(np.mean(labels == commonest))

    data = {
        "test": test | {"baseline": baseline},
        "calibration": calibration,
        "coverage": compute_coverage(labels, probabilities),
        "abstention": find_abstention_thresholds(labels, probabilities),
        "images": _count_images(splits),
        "given_split": splits.given,
        "leaks": [list_fields(finding) for finding in splits.leaks],
        "near_duplicates": [list_fields(pair) for pair in splits.near_duplicates],
    }

    # Neither counts nor tables nor what could not be measured.
    scores = {name: value for name, value in test.items() if isinstance(value, float)}
    if error is not None:
        scores["calibration_error"] = error
    return Report(
        scores=scores,
        temperature=1.0,
        data=data,
        mistakes=_find_mistakes(splits, labels, probabilities),
        examples=_choose_examples(splits),
    )


def _collect_labels(examples: Sequence["Example"]) -> Labels:
    # With the type given, no image at all makes an array of integers too.
    return np.array([example.label for example in examples], dtype=np.int64)


def _count_images(splits: "Splits") -> list[dict[str, Any]]:
    """Count the images of each class in each part of the split."""
    rows: list[dict[str, Any]] = [{"name": name} for name in splits.classes]
    parts = {
        "train": splits.train,
        "val": splits.val,
        "test": splits.test,
    }
    for part, examples in parts.items():
        labels = _collect_labels(examples)
        counts = np.bincount(labels, minlength=len(rows))
        for row, count in zip(rows, counts.tolist(), strict=True):
            row[part] = count
    return rows


def _find_mistakes(
    splits: "Splits",
    labels: Labels,
    probabilities: Probabilities,
) -> tuple[Mistake, ...]:
    """Find the mistakes of which the model is most confident."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1, initial=0)
    wrong = np.flatnonzero(predicted != labels)
    # A stable sort, so that equal confidences keep the order of the images in every run.
    order = np.argsort(-confidence[wrong], kind="stable")
    worst = wrong[order][:MOST_MISTAKES]

    mistakes = []
    for index in worst:
        example = splits.test[index]
        mistakes.append(
            Mistake(
                path=example.path,
                name=example.name,
                true=splits.classes[labels[index]],
                predicted=splits.classes[predicted[index]],
                confidence=float(confidence[index]),
            )
        )
    return tuple(mistakes)


def _choose_examples(splits: "Splits") -> dict[str, list["Example"]]:
    """Choose the first images of each class: training images, as far as there are enough.

    Images are in the order of their digests, so the first ones are as good as drawn by lot.
    """
    chosen: dict[str, list[Example]] = {name: [] for name in splits.classes}
    contents: set[str] = set()
    for example in itertools.chain(splits.train, splits.val, splits.test):
        of_class = chosen[splits.classes[example.label]]
        if len(of_class) < MOST_EXAMPLES and example.sha256 not in contents:
            of_class.append(example)
            contents.add(example.sha256)
    return chosen
