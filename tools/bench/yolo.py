"""`yolo classify train` of Ultralytics, in an environment of its own."""

import csv
import io
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tools.bench.curves import Curve
from tools.bench.measuring import time_command

NAME = "Ultralytics"
ARCHITECTURE = "yolo26n-cls.yaml"
# The command `yolo`, which by itself computes on all cores but one.
PROGRAM = """\
import os
from ultralytics.cfg import entrypoint
from ultralytics.utils import torch_utils
torch_utils.NUM_THREADS = len(os.sched_getaffinity(0))
entrypoint()
"""
VERSIONS = "from importlib.metadata import version; print(version('ultralytics'), version('torch'))"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where Ultralytics is.

    Attributes:
        python: the interpreter that has it.
        weights: a file of a classifier to begin from. None begins from random weights.
    """

    python: Path
    weights: Path | None = None


def follow_training(
    environment: Environment, pictures: Path, folder: Path, side: int, epochs: int
) -> Curve:
    """One model after each epoch, which its own validation judges.

    Args:
        environment: where it is.
        pictures: of the parts train and test.
        folder: is made.
        side: of the pictures, in pixels.
        epochs: of the training.
    """
    versions = subprocess.check_output((environment.python, "-c", VERSIONS), text=True).split()
    data = folder / "data"
    data.mkdir(parents=True)
    # What it calls `val` is judged after each epoch.
    for name, part in (("train", "train"), ("val", "test")):
        (data / name).symlink_to(pictures / part)
    variables = {
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_OFFLINE": "True",
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        # Threads that wait in a loop make an epoch ten times as long where anything else computes.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = (str(environment.python), "-c", PROGRAM)
    time_command((*command, "settings", "sync=False"), variables)  # it sends nothing anywhere
    words = (
        f"model={environment.weights or ARCHITECTURE}",
        f"data={data}",
        f"project={folder}",
        "name=trained",
        f"epochs={epochs}",
        f"imgsz={side}",
        "device=cpu",
        "plots=False",
    )
    began = time.time()
    time_command((*command, "classify", "train", *words), variables)
    table = folder / "trained" / "results.csv"
    points = read_epochs(table.read_text())
    # The table is last written at the end of the last epoch, which tells when the first one began.
    start = table.stat().st_mtime - points[-1][0] - began
    return Curve(
        name=NAME if environment.weights else f"{NAME}, from random weights",
        description=_describe_training(environment, versions, epochs),
        ours=False,
        points=tuple((start + seconds, accuracy) for seconds, accuracy in points),
    )


def read_epochs(text: str) -> list[tuple[float, float]]:
    """(seconds since the first epoch began, accuracy) of each epoch in a `results.csv`."""
    rows = csv.DictReader(io.StringIO(text))
    return [(float(row["time"]), float(row["metrics/accuracy_top1"])) for row in rows]


def _describe_training(environment: Environment, versions: list[str], epochs: int) -> str:
    package, torch = versions
    if environment.weights:
        weights = f"It begins from `{environment.weights.name}`."
    else:
        weights = (
            f"`{ARCHITECTURE}` begins from **random weights**, since its ImageNet weights are in "
            "no package registry. The other competitors begin from ImageNet weights, so this is "
            "not a comparison of equals."
        )
    return (
        f"`yolo classify train` of version {package} with torch {torch}, {epochs} epochs. "
        f"{weights} Its validation is of the test pictures, and its seconds are included. The "
        "guide also has one validation in each epoch, of as many pictures. It computes on all "
        "cores here. By itself it leaves one out."
    )
