"""Training as one worker of several: `python -m tests.training.two_workers FOLDER INDEX ADDRESS…`.

There is one process for each address; without any, one works alone. Prints JSON: the weights after
both stages of a plan, the history, the outcome of a race, and how far the workers agreed.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from job import selection, storage, telemetry, training, workers
from job.batches import Feed
from job.checkpoint import CheckpointStore
from job.features import FeatureCache
from job.settings import DevicesSettings, GateSettings, TrainingSettings, TransferSettings
from job.training import Fitted, TrainingContext
from job.transfer import Plan, Stage
from job.workers import Stop, WorkerGroup
from tests.training.conftest import SIZE, build_classifier, draw_splits


def main(folder: Path, index: int, addresses: tuple[str, ...]) -> None:
    # Another number of threads stands for another machine.
    devices = DevicesSettings(threads=1 + index)
    team = workers.join(devices, WorkerGroup(addresses or ("",), index), together=bool(addresses))
    with team.strategy.scope():
        classifier = build_classifier()
    pictures = folder / f"pictures-{index}"
    pictures.mkdir()
    feed = Feed(
        splits=draw_splits(pictures),
        image_size=SIZE,
        image_fit="letterbox",
        batch_size=9,
        seed=3,
        augmentation="light",
        label_smoothing=0.1,
        class_weights="balanced",
    )
    checkpoints = CheckpointStore(
        folder=folder / str(index),
        store=storage.connect((folder / "bucket").as_uri()),
        interval_seconds=0.0,
    )
    context = TrainingContext(
        settings=TrainingSettings(
            epochs=3, batch_size=9, learning_rate=0.01, patience=0, clip_norm=0.5
        ),
        gate=GateSettings(),
        workers=team,
        precision="float32",
        checkpoints=checkpoints,
        cache=FeatureCache(folder / "features", 10**9),
        telemetry=telemetry.silent(),
        stop=Stop(),
    )
    plan = Plan(
        mode="part",
        pooling="avg",
        reason="asked",
        rule="setting",
        cut=classifier.cuts[0],
        stages=(Stage("probe", "none", 1.0, True), Stage("tune", "part", 1.0, False)),
        trainable=0,
        total=0,
    )
    fitted = training.fit(classifier, plan, feed, context)
    raced = run_race(feed, context, folder)
    arrays = [np.asarray(variable, np.float64) for variable in classifier.model.variables]
    report = {
        "history": fitted.history,
        "over": checkpoints.is_training_over(),
        "fingerprint": team.fingerprint,
        "weights": [array.ravel().tolist() for array in arrays],
        "raced": [np.asarray(v).ravel().tolist() for v in raced.classifier.model.variables],
        "candidates": raced.candidates,
        "agreed": team.agree("one"),
        "differed": not team.agree(str(index)),
    }
    print(json.dumps(report))


def run_race(feed: Feed, context: TrainingContext, folder: Path) -> Fitted:
    """A race of several candidates, which the first worker alone has measured the data for."""
    with context.workers.strategy.scope():
        classifier = build_classifier()
    store = storage.connect((folder / "bucket").as_uri()).child("race")
    local = context.checkpoints.folder / "race"
    checkpoints = CheckpointStore(folder=local, store=store, interval_seconds=1e9)
    surroundings = replace(context, checkpoints=checkpoints)
    measured = None
    if context.workers.chief:
        measured = selection.measure_data(classifier, feed, surroundings)
    # Enough for one candidate that is trained by steps.
    settings = TransferSettings(budget=1.2)
    return selection.race_candidates(classifier, feed, settings, measured, surroundings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]))
