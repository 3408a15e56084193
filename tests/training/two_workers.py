"""Run as a process of its own: `two_workers.py FOLDER INDEX ADDRESS…`, one for each address; without, one alone.

Prints JSON: the weights after both stages of a plan, the history, and how far the workers agreed.
"""

import json
import sys
from pathlib import Path

import numpy as np

from job import storage, telemetry, training, workers
from job.batches import Feed
from job.checkpoint import CheckpointStore
from job.settings import DevicesSettings, GateSettings, TrainingSettings
from job.training import FeatureCache, TrainingContext
from job.transfer import Plan, Stage
from job.workers import Stop, WorkerGroup
from tests.training.conftest import SIZE, build_toy, draw_splits

STAGES = (Stage("probe", "none", 1.0, True), Stage("tune", "part", 1.0, False))


def main(folder: Path, index: int, addresses: tuple[str, ...]) -> None:
    # Another number of threads stands for another machine.
    devices = DevicesSettings(threads=1 + index)
    team = workers.join(devices, WorkerGroup(addresses or ("",), index), together=bool(addresses))
    with team.strategy.scope():
        toy = build_toy(dropout=0.0)
    pictures = folder / f"pictures-{index}"
    pictures.mkdir()
    feed = Feed(draw_splits(pictures), SIZE, "letterbox", 9, 3, "light", 0.1, "balanced")
    checkpoints = CheckpointStore(
        folder / str(index), storage.connect((folder / "bucket").as_uri()), 0.0
    )
    settings = TrainingSettings(
        epochs=3, batch_size=9, learning_rate=0.01, patience=0, clip_norm=0.5
    )
    context = TrainingContext(
        settings, GateSettings(), team, "float32", checkpoints, telemetry.silent(), Stop()
    )
    plan = Plan("part", "asked", "setting", toy.cuts[0], STAGES, 0, 0)
    fitted = training.fit(toy, plan, feed, context, FeatureCache(folder / "features", "toy", 10**9))
    said = {
        "history": fitted.history,
        "over": checkpoints.is_training_over(),
        "fingerprint": team.fingerprint,
    }
    weights = [
        np.asarray(variable, np.float64).ravel().tolist() for variable in toy.model.variables
    ]
    print(
        json.dumps(
            said
            | {
                "weights": weights,
                "agreed": team.agree("one"),
                "differed": not team.agree(str(index)),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]))
