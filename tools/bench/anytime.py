"""How accurate is the newest model at each second from `exec`? `graft run` beside its rivals.

    python -m tools.bench.bench --rows anytime --ultralytics FOLDER/bin/python

Each competitor runs once and from nothing, on all cores. All learn from the same pictures, and are
judged on the same other ones. Ultralytics takes several GB, so nothing here installs it. The
interpreter of an environment that has it is an option, and without it there is no curve of it:

    python -m venv FOLDER && FOLDER/bin/pip install ultralytics

It trains from random weights: its ImageNet weights are in no package registry. With
`--ultralytics-weights yolo26n-cls.pt` it begins from a file that someone has.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.bench import starting, yolo
from tools.bench.curves import Curve
from tools.bench.measuring import Workplace, time_command
from tools.bench.pictures import draw_pictures

# In the profiles `quick` and `full`.
PICTURES = (250, 1_000)
GUIDE_EPOCHS = ((4, 2), (10, 5))
YOLO_EPOCHS = (10, 50)
NOT_NAMED = "No environment that has it was named with `--ultralytics`."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where Ultralytics is."""
    parser.add_argument(
        "--ultralytics", type=Path, metavar="PYTHON", help="an interpreter that has Ultralytics"
    )
    parser.add_argument(
        "--ultralytics-weights", type=Path, metavar="FILE", help="a classifier that it begins from"
    )


def read_options(options: argparse.Namespace) -> yolo.Environment | None:
    """Where Ultralytics is. None if no option says it."""
    if options.ultralytics is None:
        return None
    weights = options.ultralytics_weights
    # No link is followed: that of a virtual environment says which packages it has.
    return yolo.Environment(options.ultralytics.absolute(), weights and weights.absolute())


def measure(place: Workplace, environment: yolo.Environment | None) -> dict[str, Any]:
    """Run each competitor once, and return what the file says of them."""
    load = os.getloadavg()[0]
    full = not place.quick
    pictures = draw_pictures(place.folder / "pictures", PICTURES[full])
    time_command(starting.TENSORFLOW)  # its files are in memory from now on
    curves = [_run_graft(pictures, place.folder / mode, mode) for mode in ("none", "auto")]
    curves.append(_follow_guide(pictures, place.folder / "guide", GUIDE_EPOCHS[full]))
    unmeasured = {}
    if environment is None:
        unmeasured[yolo.NAME] = NOT_NAMED
    else:
        folder = place.folder / "yolo"
        epochs = YOLO_EPOCHS[full]
        curves.append(yolo.follow_training(environment, pictures, folder, starting.SIDE, epochs))
    return {
        "profile": "full" if full else "quick",
        "measured": datetime.now(UTC).date().isoformat(),
        "load": round(load, 1),
        "training_images": _count_files(pictures / "train"),
        "test_images": _count_files(pictures / "test"),
        "curves": [_list_values(curve) for curve in curves],
        "unmeasured": unmeasured,
    }


def _run_graft(pictures: Path, folder: Path, mode: str) -> Curve:
    """One model, which is the release."""
    sample, accuracy = starting.run_graft(pictures, folder, mode)
    return Curve(
        name=f"`graft run`, mode `{mode}`",
        description="The model counts from the exit on. It is released as SavedModel then.",
        ours=True,
        points=((sample.seconds, accuracy),),
    )


def _follow_guide(pictures: Path, folder: Path, epochs: tuple[int, int]) -> Curve:
    """One model after each epoch."""
    folder.mkdir()
    began = time.monotonic()
    starting.run_guide(pictures, folder, *epochs, judge=True)
    found = json.loads((folder / "guide.json").read_text())
    head, tuning = epochs
    return Curve(
        name="Keras guide",
        description=f"{head} epochs of the head and {tuning} of everything, with the backbone and "
        "the weights of `graft run`. A model counts from the end of its epoch on, without being "
        "saved. The seconds that judging on the test pictures takes are subtracted.",
        ours=False,
        points=tuple((moment - began, accuracy) for moment, accuracy in found["moments"]),
    )


def _list_values(curve: Curve) -> dict[str, Any]:
    points = tuple((round(seconds, 2), round(accuracy, 4)) for seconds, accuracy in curve.points)
    return asdict(replace(curve, points=points))


def _count_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
