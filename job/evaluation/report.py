"""The judgement as a value, and the three files that tell it: report.json, report.html, model-card.md."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from job.evaluation.calibration import (
    abstention,
    calibrate,
    calibration_error,
    coverage,
    reliability,
)
from job.evaluation.page import render_card, render_page
from job.evaluation.pictures import thumbnail
from job.evaluation.scores import Probabilities, scores
from job.scores import Labels

if (
    TYPE_CHECKING
):  # `publish` compares two models without loading TensorFlow, which `audit` brings along.
    from job.audit import Example, Splits

SCHEMA = 1
WORST = 24


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that the model calls by the wrong name; `path` is where its bytes lie on this machine."""

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
    """What the pages tell beside the scores: plain values, without times and host names.

    Attributes:
        name, run_id: of the run.
        backbone: its Keras name.
        image_size: side of the square input in pixels.
        plan: mode (none | part | all), reason, rule (who decided), cut (a layer or None), stages,
            and the number of trainable and total parameters; as `transfer.Plan.facts` gives them.
        gate: metric (a key of `METRICS`) and min_score.
        weights: origin, licence and sha256 of the pre-trained weights.
        source, digest: the data set's address and the digest of its content.
        left_out: (image, reason) of each image that was not used.
        duplicates: (image, reason) of each image whose content occurred before.
        warnings: sentences about the data.
        history: rows in order: stage, epoch, loss and scores, among them val_loss and val_<metric>;
            with a penalty where the head was solved.
        exports: format, path, max_difference of a probability, top1_agreement, bytes; as
            `export.Parity` has them.
        judged_before: earlier releases that were judged on these very test images.
        settings: as they were used, nested by group.
        versions: by package.
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
    judged_before: int = 0
    settings: Mapping[str, Any]
    versions: Mapping[str, str]


def judge(
    logits_test: NDArray[np.float32], logits_val: NDArray[np.float32], splits: "Splits"
) -> Report:
    """Measure the trained model on the test images, after its temperature is fitted on the validation images.

    Args:
        logits_test: float32 [n, classes], rows in the order of `splits.test`.
        logits_val: float32 [m, classes], rows in the order of `splits.val`.
        splits: the images, their labels and the classes.
    """
    labels = _labels(splits.test)
    temperature = calibrate(logits_val, _labels(splits.val))
    raw, probabilities = (softmax(logits_test / divisor, axis=1) for divisor in (1.0, temperature))
    test = scores(labels, probabilities, splits.classes)
    before, after = reliability(labels, raw), reliability(labels, probabilities)
    calibration = {
        "temperature": temperature,
        "before": {"error": calibration_error(before), "bins": before},
        "after": {"error": calibration_error(after), "bins": after},
    }
    data = {
        "test": test | {"baseline": _baseline(splits)},
        "calibration": calibration,
        "coverage": coverage(labels, probabilities),
        "abstention": abstention(labels, probabilities),
        "images": _counts(splits),
        "given_split": splits.given,
        "leaks": [_named(finding) for finding in splits.leaks],
        "near_duplicates": [_named(pair) for pair in splits.near_duplicates],
    }
    figures = {name: value for name, value in test.items() if isinstance(value, float)}
    error = calibration_error(after)
    figures |= {} if error is None else {"calibration_error": error}
    return Report(figures, temperature, data, _worst(splits, labels, probabilities))


def write(report: Report, context: ReportContext, folder: Path) -> None:
    """Write report.json, report.html and model-card.md into `folder`: the same bytes for the same input."""
    folder.mkdir(parents=True, exist_ok=True)
    told = _plain(
        {"schema": SCHEMA, **report.data, **_named(context), "mistakes": _listed(report.mistakes)}
    )
    pictures = [thumbnail(mistake.path) for mistake in report.mistakes]
    text = json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    for name, content in (
        ("report.json", text + "\n"),
        ("report.html", render_page(told, pictures)),
        ("model-card.md", render_card(told)),
    ):
        # A file name that is no UTF-8 holds lone surrogates: they are written as \udcXX.
        (folder / name).write_text(
            content, encoding="utf-8", errors="backslashreplace", newline="\n"
        )


def _labels(examples: Sequence["Example"]) -> Labels:
    return np.array([example.label for example in examples], dtype=np.int64)


def _baseline(splits: "Splits") -> float:
    """The accuracy of always naming the class that has most training images."""
    most = Counter(example.label for example in splits.train).most_common(1)
    return (
        sum(example.label == most[0][0] for example in splits.test) / len(splits.test)
        if most and splits.test
        else 0.0
    )


def _counts(splits: "Splits") -> list[dict[str, Any]]:
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    counts = {
        part: Counter(example.label for example in examples) for part, examples in parts.items()
    }
    return [
        {"name": name, **{part: count[label] for part, count in counts.items()}}
        for label, name in enumerate(splits.classes)
    ]


def _worst(splits: "Splits", labels: Labels, probabilities: Probabilities) -> tuple[Mistake, ...]:
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1, initial=0)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return tuple(
        Mistake(
            path=splits.test[index].path,
            name=splits.test[index].name,
            true=splits.classes[labels[index]],
            predicted=splits.classes[predicted[index]],
            confidence=float(confidence[index]),
        )
        for index in worst
    )


def _listed(mistakes: Sequence[Mistake]) -> list[dict[str, Any]]:
    """Without the paths, which differ from machine to machine."""
    return [
        {name: value for name, value in _named(mistake).items() if name != "path"}
        for mistake in mistakes
    ]


def _named(value: Any) -> dict[str, Any]:
    """A dataclass as a dict, its values untouched."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    """The value in JSON's own types: NumPy's numbers unpacked, what is not finite null, anything else its text."""
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.generic():
            return _plain(value.item())
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)
