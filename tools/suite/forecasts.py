"""How well the learning curve and the search for wrong labels say what is so.

    python -m tools.suite.forecasts [TASK …]        # one JSON line for each task

Both are asked on the tasks of the suite. The learning curve sees a half of the training images and
their validation images, and predicts what the other half brings. Wrong labels
are planted: `WRONG` of all images get another class at random.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from job import batches, training, workers
from job.features import FeatureCache
from job.linear import Sample, join, solve
from job.measurement import ALL_STAGES, Measurement, choose_better, find_suspects, measure
from job.settings import DevicesSettings, TrainingSettings
from job.training import StageFeatures
from job.workers import Workers
from tools.suite.choices import CHOICES
from tools.suite.fitting import CACHE_LIMIT, build_network, make_context, split_images
from tools.suite.jobs import FitJob
from tools.suite.tasks import TASKS

DRAWS = 5
WRONG = 0.05
METRIC = "accuracy"


def main(tasks: Sequence[str]) -> None:
    """Print what is found on each task."""
    own = workers.join(DevicesSettings())
    for task in tasks or list(TASKS):
        features = load_features(task, own)
        found = {"task": task, **judge_gain(features), **judge_suspects(features)}
        print(json.dumps(found), flush=True)


def load_features(task: str, own: Workers) -> StageFeatures:
    """Compute the features of the first draw of a task."""
    with tempfile.TemporaryDirectory(prefix="graft-forecasts-") as scratch:
        folder = Path(scratch)
        job = FitJob(
            task=task,
            seed=0,
            choices=(),
            folder=folder,
            training=TrainingSettings(),
            divisor=1,
            threads=0,
            backbone="EfficientNetLite0",
            keeps_weights=False,
        )
        TASKS[task].write(job.seed, folder / "images")
        splits = split_images(folder)
        classifier, _ = build_network(job, CHOICES["none"], splits, folder)
        size = TASKS[task].side
        feed = batches.build_feed(splits, size, "letterbox", job.training, job.seed)
        cache = FeatureCache(folder / "features", CACHE_LIMIT)
        context = make_context(job, cache, folder, own)
        return training.load_stage_features(classifier, feed, context)


def judge_gain(features: StageFeatures) -> dict[str, Any]:
    """What twice the images bring, in points: as predicted from a half of them, and as it is.

    Half of the images are drawn `DRAWS` times. What is so is judged by all images that no head has
    learnt from: those of the test alone are too few for a difference of a point.
    """
    judges = join(features.val, features.test)
    generator = np.random.default_rng(0)
    predicted, gains, errors = [], [], []
    for _ in range(DRAWS):
        half = features.train.take(draw_half(features.train, generator))
        measurement = measure(half, features.val, features.groups, METRIC)
        predicted.append(measurement.doubling)
        more = judge_head(features.train, judges, features, measurement)
        difference = more - judge_head(half, judges, features, measurement)
        gains.append(difference.mean())
        errors.append(difference.std() / np.sqrt(judges.images))
    return {
        "images": features.train.images,
        "predicted_gain": round(100 * float(np.mean(predicted)), 2),
        "gain": round(100 * float(np.mean(gains)), 2),
        "standard_error": round(100 * float(np.mean(errors)), 2),
    }


def judge_head(
    train: Sample, judges: Sample, features: StageFeatures, measurement: Measurement
) -> np.ndarray:
    """Whether each judge is classified rightly by the head whose curve was measured: float [n]."""
    better = choose_better(measurement.profile)
    first = 0 if better.stage == ALL_STAGES else features.groups[-1].start
    head = solve(replace(train, features=train.features[:, first:]), better.penalty)
    answers = head.logits(judges.features[:, first:]).argmax(axis=1)
    return (answers == judges.labels).astype(float)


def judge_suspects(features: StageFeatures) -> dict[str, Any]:
    """How many planted wrong labels are listed, and how much else is, over `DRAWS` plantings."""
    everything = join(features.train, features.val, features.test)
    generator = np.random.default_rng(0)
    precision, recall = [], []
    for _ in range(DRAWS):
        planted, sample = plant_labels(everything, generator)
        listed = {row.image for row in find_suspects(sample).rows}
        found = len(planted & listed)
        precision.append(found / max(len(listed), 1))
        recall.append(found / len(planted))
    return {
        "judged": everything.images,
        "precision": [round(value, 3) for value in precision],
        "recall": [round(value, 3) for value in recall],
        "listed_without_planting": len(find_suspects(everything).rows),
    }


def draw_half(sample: Sample, generator: np.random.Generator) -> np.ndarray:
    """Draw the rows of half of the images of each class, at least one of each."""
    chosen = []
    for label in np.unique(sample.labels):
        rows = generator.permutation(np.flatnonzero(sample.labels == label))
        chosen.append(rows[: max(1, len(rows) // 2)])
    return np.sort(np.concatenate(chosen))


def plant_labels(sample: Sample, generator: np.random.Generator) -> tuple[set[int], Sample]:
    """Give some images another class. Returns their rows, and the sample with these labels."""
    rows = generator.permutation(sample.images)[: round(WRONG * sample.images)]
    labels = sample.labels.copy()
    labels[rows] = (
        labels[rows] + generator.integers(1, sample.classes, len(rows))
    ) % sample.classes
    targets = np.eye(sample.classes, dtype=np.float32)[labels]
    return {int(row) for row in rows}, replace(sample, labels=labels, targets=targets)


if __name__ == "__main__":
    main(sys.argv[1:])
