"""Judge a model, and write report.json, report.html and model-card.md."""

import csv
import io
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
from job.evaluation.context import ReportContext
from job.evaluation.page import render_card, render_page
from job.evaluation.pictures import PagePictures, draw_evidence, make_thumbnail
from job.evaluation.plain_values import convert_to_json, list_fields
from job.evaluation.scores import Probabilities, compute_scores
from job.scores import Labels

# `publish` compares two models without TensorFlow, which `audit` imports.
if TYPE_CHECKING:
    from job.audit import Example, Splits

# Version of the format of report.json.
SCHEMA = 1
SUSPECT_COLUMNS = ("image", "label", "likelier", "probability", "part")
# Mistakes that the report shows at most.
MOST_MISTAKES = 24
# Suspects that the report shows a picture of at most. Its table lists all that it is given.
MOST_SUSPECTS = 12
# Fields of the context that are null in report.json where nothing was measured.
MEASURED = ("measurement", "suspects", "promotion")


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
    )


def write(report: Report, context: ReportContext, folder: Path) -> None:
    """Write report.json, report.html and, for a run, model-card.md into `folder`.

    Equal reports and contexts give equal bytes.
    """
    mistakes = []
    for mistake in report.mistakes:
        row = list_fields(mistake)
        # A path differs from machine to machine, and the page shows the evidence.
        del row["path"], row["evidence"]
        mistakes.append(row)
    values = {
        "schema": SCHEMA,
        **report.data,
        **list_fields(context),
        "mistakes": mistakes,
    }
    for name in MEASURED:
        values[name] = values[name] or None
    if context.suspects:
        rows = [_remove_path(row) for row in context.suspects["rows"]]
        values["suspects"] = {**context.suspects, "rows": rows}
    content = convert_to_json(values)
    pictures = _make_pictures(report, context)
    text = json.dumps(
        content,
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
    )

    files = {
        "report.json": text + "\n",
        "report.html": render_page(content, pictures),
    }
    if context.evaluated is None:
        files["model-card.md"] = render_card(content)
    if context.suspects:
        files["suspects.csv"] = _format_suspects(context.suspects["rows"])
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


def _make_pictures(report: Report, context: ReportContext) -> PagePictures:
    """Make the pictures of the page. Files that cannot be read have none."""
    thumbnails = []
    evidence = []
    for mistake in report.mistakes:
        thumbnails.append(make_thumbnail(mistake.path))
        layer = None if mistake.evidence is None else draw_evidence(mistake.evidence)
        evidence.append(layer)
    suspects = []
    for row in context.suspects.get("rows", ())[:MOST_SUSPECTS]:
        path = row.get("path")
        suspects.append(make_thumbnail(Path(path)) if path else None)
    return PagePictures(
        mistakes=tuple(thumbnails),
        evidence=tuple(evidence),
        suspects=tuple(suspects),
    )


def _format_suspects(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format as CSV: image, label, likelier, probability, part. The most suspicious come first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SUSPECT_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _remove_path(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of suspects without its file on this machine."""
    return {name: value for name, value in row.items() if name != "path"}


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
