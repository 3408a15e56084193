"""Judge a model, and write report.json, report.html and model-card.md."""

import json
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
from job.evaluation.page import render_card, render_page
from job.evaluation.pictures import make_thumbnail
from job.evaluation.plain_values import convert_to_json, list_fields
from job.evaluation.scores import Probabilities, compute_scores
from job.scores import Labels

# `publish` compares two models without TensorFlow, which `audit` imports.
if TYPE_CHECKING:
    from job.audit import Example, Splits

# Version of the format of report.json.
SCHEMA = 1
# Mistakes that the report shows at most.
MOST_MISTAKES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A test image that the model calls by a wrong name; `path` is its file on this machine."""

    path: Path
    name: str
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Attributes:
        scores: the figures that a gate, a manifest and a result need, by name.
        temperature: divides the logits of the released model.
        data: everything measured, JSON-able.
        mistakes: the worst ones, the most confident first.
    """

    scores: dict[str, float]
    temperature: float
    data: dict[str, Any]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """What the report says beside the scores: plain values, without times and host names.

    Attributes:
        name, run_id: of the run.
        backbone: its Keras name.
        image_size: side of the square input in pixels.
        plan: mode (none | part | all), reason, rule (who decided), cut (a layer or None), stages,
            and the number of trainable and total parameters, as `transfer.Plan.facts` gives them.
        gate: metric (a key of `METRICS`) and min_score.
        weights: origin, licence and sha256 of the pre-trained weights.
        source, digest: the data set's address and the digest of its content.
        left_out: (image, reason) of each image that was not used.
        duplicates: (image, reason) of each image whose content occurred before.
        warnings: sentences about the data.
        history: rows in order: stage, epoch, loss and scores, among them val_loss and val_<metric>.
            A row of a solved head has a penalty too.
        exports: format, path, max_difference of a probability, top1_agreement and bytes, as
            `export.Parity` has them.
        promotion: decision (promote | keep), by, reason, comparison and against, as
            `publish.Decision.record` gives them. None where nothing is promoted.
        judged_before: earlier releases that were judged on these very test images.
        settings: the values used, nested by group.
        versions: by package.
        evaluated: URI of a release that was judged on other images than those of its run. Then
            there is no history, no export and no gate. None in the report of a run.
    """

    name: str
    run_id: str
    backbone: str
    image_size: int
    plan: Mapping[str, Any]
    gate: Mapping[str, Any]
    weights: Mapping[str, str]
    source: str
    digest: str
    left_out: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    exports: tuple[Mapping[str, Any], ...] = ()
    promotion: Mapping[str, Any] | None = None
    judged_before: int = 0
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    evaluated: str | None = None


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
    )


def write(report: Report, context: ReportContext, folder: Path) -> None:
    """Write report.json, report.html and, for a run, model-card.md into `folder`.

    Equal reports and contexts give equal bytes.
    """
    mistakes = []
    thumbnails = []
    for mistake in report.mistakes:
        thumbnails.append(make_thumbnail(mistake.path))
        row = list_fields(mistake)
        # It differs from machine to machine.
        del row["path"]
        mistakes.append(row)
    content = convert_to_json(
        {
            "schema": SCHEMA,
            **report.data,
            **list_fields(context),
            "mistakes": mistakes,
        }
    )
    text = json.dumps(
        content,
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
    )

    files = {
        "report.json": text + "\n",
        "report.html": render_page(content, thumbnails),
    }
    if context.evaluated is None:
        files["model-card.md"] = render_card(content)
    folder.mkdir(parents=True, exist_ok=True)
    for name, file_text in files.items():
        path = folder / name
        path.write_text(
            file_text,
            encoding="utf-8",
            # A file name that is not UTF-8 holds lone surrogates. They are written as \udcXX.
            errors="backslashreplace",
            newline="\n",
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
