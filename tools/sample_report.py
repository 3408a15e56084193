"""Write a report with sample content, so that every section can be looked at.

The photographs are those of `make run`. The numbers are made up, and of a size that real runs have.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from job.audit import Example, NearDuplicate, Splits
from job.evaluation import Report, ReportContext, judge, write

PHOTOGRAPHS_OF_A_CLASS = 34
# Side of a feature map of EfficientNet at 224 px.
MAP_SIDE = 7

MEASUREMENT: dict[str, Any] = {
    "metric": "accuracy",
    "images": 154,
    "judged": 33,
    "folds": 5,
    "profile": [
        {"stage": "112 px", "dimensions": 16, "score": 0.424, "low": 0.272, "high": 0.592},
        {"stage": "56 px", "dimensions": 24, "score": 0.515, "low": 0.352, "high": 0.675},
        {"stage": "28 px", "dimensions": 40, "score": 0.636, "low": 0.466, "high": 0.778},
        {"stage": "14 px", "dimensions": 112, "score": 0.818, "low": 0.656, "high": 0.914},
        {"stage": "7 px", "dimensions": 1280, "score": 0.909, "low": 0.764, "high": 0.969},
        {"stage": "all stages", "dimensions": 1472, "score": 0.921, "low": 0.781, "high": 0.976},
    ],
    "curve": [
        {"images": 15, "scores": [0.576, 0.667, 0.606, 0.515, 0.697], "score": 0.612},
        {"images": 31, "scores": [0.727, 0.697, 0.758, 0.788, 0.667], "score": 0.727},
        {"images": 62, "scores": [0.818, 0.848, 0.788, 0.818, 0.879], "score": 0.83},
        {"images": 123, "scores": [0.879, 0.909, 0.879, 0.939, 0.879], "score": 0.897},
        {"images": 154, "scores": [0.909], "score": 0.909},
    ],
    "doubling": 0.021,
    "earlier_stages_add": 0.012,
    "kind": "like",
    "amount": "little",
}
BACKBONES: tuple[dict[str, Any], ...] = (
    {
        "name": "EfficientNetLite0",
        "parameters": 3_413_024,
        "milliseconds": 5.1,
        "image_size": 224,
        "metric": "accuracy",
        "score": 0.909,
        "low": 0.859,
        "high": 0.942,
        "images": 149,
        "judged": 187,
        "chosen": True,
        "reason": "EfficientNetLite0 reaches 0.909 (accuracy on 187 images) and EfficientNetLite2 "
        "0.914. That is within one standard error, and EfficientNetLite0 is smaller.",
    },
    {
        "name": "EfficientNetLite1",
        "parameters": 4_189_344,
        "milliseconds": 8.2,
        "image_size": 240,
        "metric": "accuracy",
        "score": 0.877,
        "low": 0.822,
        "high": 0.917,
        "images": 149,
        "judged": 187,
        "chosen": False,
        "reason": "It is 3.2 points below the chosen one.",
    },
    {
        "name": "EfficientNetLite2",
        "parameters": 4_869_168,
        "milliseconds": 11.9,
        "image_size": 260,
        "metric": "accuracy",
        "score": 0.914,
        "low": 0.865,
        "high": 0.947,
        "images": 149,
        "judged": 187,
        "chosen": False,
        "reason": "It is 0.5 points better, within one standard error, and larger.",
    },
    {
        "name": "ConvNeXtTiny",
        "parameters": 27_820_128,
        "milliseconds": None,
        "image_size": 224,
        "metric": "accuracy",
        "score": None,
        "low": None,
        "high": None,
        "images": 0,
        "judged": 0,
        "chosen": False,
        "reason": "It has more parameters than the limit.",
    },
)
CANDIDATES: tuple[dict[str, Any], ...] = (
    {
        "name": "none",
        "mode": "none",
        "pooling": "avg",
        "cut": None,
        "score": 0.909,
        "low": 0.764,
        "high": 0.969,
        "work": 0.02,
        "epochs": 0,
        "of_epochs": 0,
        "chosen": False,
        "reason": "It is 3.6 points below the best.",
    },
    {
        "name": "none, all stages",
        "mode": "none",
        "pooling": "stages",
        "cut": None,
        "score": 0.921,
        "low": 0.781,
        "high": 0.976,
        "work": 0.02,
        "epochs": 0,
        "of_epochs": 0,
        "chosen": False,
        "reason": "It is 2.4 points below the best, which is more than one standard error.",
    },
    {
        "name": "part from 14 px",
        "mode": "part",
        "pooling": "avg",
        "cut": "088_block4a_expand",
        "score": 0.945,
        "low": 0.812,
        "high": 0.987,
        "work": 0.46,
        "epochs": 20,
        "of_epochs": 20,
        "chosen": True,
        "reason": "It has the best score, and no cheaper one is within one standard error of it.",
    },
    {
        "name": "all",
        "mode": "all",
        "pooling": "avg",
        "cut": None,
        "score": 0.879,
        "low": 0.727,
        "high": 0.952,
        "work": 0.25,
        "epochs": 5,
        "of_epochs": 20,
        "chosen": False,
        "reason": "It was dropped after 5 epochs: the worse half of the tuned candidates.",
    },
)
REFINEMENTS: tuple[dict[str, Any], ...] = (
    {
        "name": "line between probe and tuned weights",
        "before": 0.945,
        "after": 0.957,
        "kept": True,
        "undone": False,
        "detail": "alpha 0.6",
    },
    {
        "name": "mean of the best three states",
        "before": 0.957,
        "after": 0.951,
        "kept": False,
        "detail": "epochs 6, 9 and 11",
    },
    {
        "name": "head solved again on the tuned features",
        "before": 0.957,
        "after": 0.957,
        "kept": True,
        "detail": "penalty 0.032, at 256 px",
    },
)
PROMOTION: dict[str, Any] = {
    "decision": "promote",
    "by": "comparison",
    "reason": "accuracy 0.8333 against the champion's 0.8000 on the same 30 images (tolerance 0).",
    "comparison": {
        "run_id": "34701a43aed1c39a",
        "metric": "accuracy",
        "challenger": 0.8333,
        "champion": 0.8,
        "low": -0.0667,
        "high": 0.1333,
        "images": 30,
    },
    "against": "5d" * 32,
}


def write_sample(photographs: Path, folder: Path) -> None:
    """Write report.html and its companions into a folder.

    Args:
        photographs: `<class>/<name>.png`.
        folder: of the report.
    """
    splits = _divide_photographs(photographs)
    # Seeded: the same pictures every time.
    generator = np.random.default_rng(6)
    logits = []
    for part in (splits.test, splits.val):
        rows = generator.normal(size=(len(part), len(splits.classes))) * 2.0
        for row, example in zip(rows, part, strict=True):
            row[example.label] += 3.2
        logits.append(rows.astype(np.float32))
    report = _add_evidence(judge(logits[0], logits[1], splits), generator)
    torn = folder / "torn.jpg"
    _tear_photograph(splits.test[0].path, torn)
    write(report, _make_context(splits, torn), folder)


def _divide_photographs(photographs: Path) -> Splits:
    """Divide some photographs of each class: a fifth each is for validation and the test."""
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    classes = sorted(path.name for path in photographs.iterdir() if path.is_dir())
    for label, name in enumerate(classes):
        files = sorted((photographs / name).iterdir())[:PHOTOGRAPHS_OF_A_CLASS]
        for index, path in enumerate(files):
            part = {3: "val", 4: "test"}.get(index % 5, "train")
            full_name = f"{name}/{path.name}"
            example = Example(
                path=path, name=full_name, label=label, sha256=full_name, format="PNG"
            )
            parts[part].append(example)
    return Splits(
        classes=tuple(classes),
        train=tuple(parts["train"]),
        val=tuple(parts["val"]),
        test=tuple(parts["test"]),
        near_duplicates=(
            NearDuplicate(
                name=parts["test"][0].name,
                split="test",
                other=parts["train"][2].name,
                other_split="train",
                bits=2,
            ),
        ),
        leaks=(),
        given=False,
    )


def _tear_photograph(photograph: Path, torn: Path) -> None:
    """Write two thirds of a photograph as a JPEG, as a broken download leaves it."""
    torn.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(photograph) as image:
        image.convert("RGB").save(torn, "JPEG")
    content = torn.read_bytes()
    torn.write_bytes(content[: len(content) * 2 // 3])


def _add_evidence(report: Report, generator: np.random.Generator) -> Report:
    """Add a map with one blob to each mistake."""
    y, x = np.mgrid[:MAP_SIDE, :MAP_SIDE]
    maps = []
    for _ in report.mistakes:
        at_y, at_x = generator.uniform(1, MAP_SIDE - 2, 2)
        distance = (y - at_y) ** 2 + (x - at_x) ** 2
        maps.append(np.exp(-distance / 3) - 0.15)
    return report.with_evidence(np.asarray(maps, np.float32))


def _make_context(splits: Splits, torn: Path) -> ReportContext:
    examples = (*splits.train, *splits.val, *splits.test)
    image_files = {example.name: example.path for example in examples}
    copied, doubtful = splits.train[5], splits.train[-3]
    places = [
        {"name": f"{name}/{doubtful.path.name}", "label": name} for name in splits.classes[-2:]
    ]
    conflict = "one content under several labels: " + ", ".join(
        f"{place['label']!r} as {place['name']}" for place in places
    )
    for place in places:
        image_files[place["name"]] = doubtful.path
    reason = "4 candidates were compared. Part from 14 px has the best validation score."
    suspects = []
    for rank, example in enumerate(splits.train[3::9]):
        suspects.append(
            {
                "image": example.name,
                "label": splits.classes[example.label],
                "likelier": splits.classes[(example.label + 2) % len(splits.classes)],
                "probability": 0.985 * 0.96**rank,
                "part": "train",
            }
        )
    return ReportContext(
        name="photographs",
        run_id="a1b2c3d4e5f60718",
        backbone="EfficientNetLite0",
        image_size=224,
        plan={
            "mode": "part",
            "reason": reason,
            "rule": "race",
            "cut": "088_block4a_expand",
            "stages": ["probe (solved)", "tune"],
            "trainable": 2_911_205,
            "total": 3_378_437,
            "pooling": "avg",
        },
        gate={"metric": "accuracy", "min_score": 0.6},
        weights={
            "origin": "TensorFlow Model Maker",
            "licence": "Apache-2.0",
            "sha256": "9f" * 32,
        },
        source="s3://data/photographs",
        digest="4c" * 32,
        left_out=(
            ("birds/torn.jpg", "a JPEG image that is cut short"),
            ("birds/list.txt.jpg", "not an image: it begins with 'name,class'"),
            *((place["name"], conflict) for place in places),
        ),
        contradictions=(tuple(places),),
        duplicates=(("birds/copy.png", f"the same content as {copied.name}"),),
        history=(*_list_penalties(), *_list_epochs()),
        exports=(
            {
                "format": "saved_model",
                "path": "saved_model/1",
                "max_difference": 0.0,
                "top1_agreement": 1.0,
                "bytes": 14_302_000,
            },
            {
                "format": "onnx",
                "path": "model.onnx",
                "max_difference": 3.4e-6,
                "top1_agreement": 1.0,
                "bytes": 13_502_000,
            },
        ),
        judged_before=3,
        settings={"seed": 7, "transfer": {"mode": "auto", "budget": 1.5}},
        versions={"keras": "3.15.1", "tensorflow": "2.21.0"},
        measurement=MEASUREMENT,
        backbones=BACKBONES,
        candidates=CANDIDATES,
        refinements=REFINEMENTS,
        suspects={
            "rows": suspects,
            "images": 170,
            "accuracy": 0.833,
            "accuracy_without": 0.862,
        },
        promotion=PROMOTION,
        champion=PROMOTION["comparison"]["run_id"],
        image_files=image_files | {"birds/torn.jpg": torn, "birds/copy.png": copied.path},
    )


def _list_penalties() -> list[dict[str, Any]]:
    """The rows of a solved head: the validation loss has its minimum at the 6th penalty."""
    rows: list[dict[str, Any]] = []
    for index in range(11):
        rows.append(
            {
                "stage": "probe",
                "epoch": None,
                "penalty": 10 ** (1 - index / 2),
                "loss": 1.4 * math.exp(-index / 2),
                "val_loss": 0.42 + 0.03 * (index - 5) ** 2 * (1.3 if index < 5 else 0.5),
                "val_accuracy": 0.909 - 0.006 * abs(index - 5),
            }
        )
    return rows


def _list_epochs() -> list[dict[str, Any]]:
    """The rows of a tuned stage, whose best epoch is the 11th of 20."""
    rows: list[dict[str, Any]] = []
    for epoch in range(1, 21):
        rows.append(
            {
                "stage": "tune",
                "epoch": epoch,
                "loss": 0.5 * math.exp(-epoch / 5),
                "val_loss": 0.34 + 0.0012 * (epoch - 11) ** 2,
                "val_accuracy": 0.945 - 0.0006 * (epoch - 11) ** 2,
            }
        )
    return rows
