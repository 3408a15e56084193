"""How much do ImageNet weights bring on the real photographs? By seeds and by random draws.

    KERAS_HOME=~/.cache/graft/keras .venv/bin/python -m tools.bench.accuracy [image side]

Prints JSON lines. Each backbone runs once over all photographs. Each split then solves its own head
and chooses its penalty on validation images, as `graft run` does. A draw takes 15 photographs of
each class, 12 to train and 3 to validate, and all others to test.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from job import audit, dataset, telemetry, workers
from job.audit import Splits
from job.batches import Feed, collect_labels
from job.catalogue import BACKBONES
from job.scores import log_loss, score
from job.settings import (
    BackboneSettings,
    CacheSettings,
    DatasetSettings,
    DevicesSettings,
    HeadSettings,
)
from tools import photographs

SEEDS = range(5)
TRAIN, VALIDATE = 12, 3


def main(side: int = 224) -> None:
    """Print one JSON line for each seed and protocol."""
    workers.join(DevicesSettings())
    with tempfile.TemporaryDirectory() as folder:
        splits = _split_photographs(Path(folder))
        known = _compute_features("imagenet", 0, splits, side, Path(folder))
        for seed in SEEDS:
            random = _compute_features("none", seed, splits, side, Path(folder))
            for protocol, parts in {
                "split": _split_positions(splits),
                "draw": _draw_positions(splits, seed),
            }.items():
                _print_row(
                    protocol=protocol,
                    seed=seed,
                    imagenet=_solve_head(known, parts),
                    random=_solve_head(random, parts),
                )


def _split_photographs(folder: Path) -> Splits:
    quiet, settings = (
        telemetry.silent(),
        DatasetSettings(uri=photographs.ensure_photographs().as_uri()),
    )
    data = dataset.fetch(dataset.survey(settings), settings, CacheSettings(dir=folder), quiet)
    return audit.split(audit.inspect(data, settings.broken_share, folder / "audit", quiet))


def _compute_features(
    source: str, seed: int, splits: Splits, side: int, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(features [n, d], labels [n]) of all photographs: train, then val, then test."""
    from job import model, weights
    from job.features import FeatureCache, FrozenNetwork

    settings = BackboneSettings(name="EfficientNetLite0", weights=source, image_size=side)
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    found = weights.locate(settings, BACKBONES[settings.name], folder, home)
    spec = model.ClassifierSpec(
        backbone=settings, head=HeadSettings(), classes=splits.classes, seed=seed
    )
    classifier = model.build(spec, found)
    feed = Feed(
        splits=splits,
        image_size=side,
        image_fit="letterbox",
        batch_size=32,
        seed=seed,
        augmentation="none",
        label_smoothing=0.0,
        class_weights="none",
    )
    examples = (*splits.train, *splits.val, *splits.test)
    import keras

    trunk = keras.Model(classifier.backbone.input, classifier.pool(classifier.backbone.output))
    cache = FeatureCache(folder / "features", 10**10)
    frozen = FrozenNetwork(trunk, f"{source} {seed}")
    rows = cache.load(frozen, feed, examples, telemetry.silent())
    return np.asarray(rows), collect_labels(examples)


def _split_positions(splits: Splits) -> tuple[np.ndarray, ...]:
    """Places of the split's parts among all photographs."""
    ends = np.cumsum([len(splits.train), len(splits.val), len(splits.test)])
    return tuple(np.split(np.arange(ends[-1]), ends[:-1]))


def _draw_positions(splits: Splits, seed: int) -> tuple[np.ndarray, ...]:
    """15 photographs a class at random to learn from, all others to test."""
    labels = collect_labels((*splits.train, *splits.val, *splits.test))
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = [_rank_label(order, labels, label) for label in range(len(splits.classes))]
    bounds = (slice(0, TRAIN), slice(TRAIN, TRAIN + VALIDATE), slice(TRAIN + VALIDATE, None))
    return tuple(np.concatenate([part[bound] for part in parts]) for bound in bounds)


def _rank_label(order: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    return order[labels[order] == label]


def _solve_head(
    known: tuple[np.ndarray, np.ndarray], parts: tuple[np.ndarray, ...]
) -> dict[str, Any]:
    """Test accuracy of the head that does best on the validation images."""
    (train, truth), (val, val_truth), (test, test_truth) = (
        (known[0][part], known[1][part]) for part in parts
    )

    def worth(probe: Any) -> tuple[float, float]:
        logits = probe.logits(val)
        return score("accuracy", val_truth, logits), -log_loss(val_truth, logits)

    probes = list(_solve_probes(train, truth))
    chosen = max(probes, key=worth)
    return {
        "accuracy": round(score("accuracy", test_truth, chosen.logits(test)), 4),
        "penalty": round(chosen.penalty, 5),
        "by_penalty": [
            round(score("accuracy", test_truth, probe.logits(test)), 3) for probe in probes
        ],
        "test": len(test),
    }


def _solve_probes(train: np.ndarray, truth: np.ndarray) -> Iterator[Any]:
    from job.linear import solve_path

    targets = np.eye(truth.max() + 1, dtype=np.float32)[truth]
    return solve_path(train, targets, np.ones(len(truth), np.float32))


def _print_row(**row: Any) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
