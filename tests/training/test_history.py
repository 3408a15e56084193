"""What training leaves for people."""

import csv
from pathlib import Path
from typing import Any

from tensorflow.python.summary.summary_iterator import summary_iterator

from job.training import write_history

HISTORY: list[dict[str, Any]] = [
    {"stage": "probe", "epoch": None, "penalty": 10.0, "val_accuracy": 0.5},
    {"stage": "probe", "epoch": None, "penalty": 1.0, "val_accuracy": 0.625},
    {"stage": "tune", "epoch": 1, "val_accuracy": 0.75},
    {"stage": "tune", "epoch": 2, "val_accuracy": 0.875},
]


def read_points(folder: Path) -> list[tuple[int, str]]:
    """The step and the name of each value that TensorBoard would draw."""
    (events,) = folder.iterdir()
    points: list[tuple[int, str]] = []
    for event in summary_iterator(str(events)):
        points.extend((event.step, value.tag) for value in event.summary.value)
    return points


def test_the_history_is_a_table_and_curves_by_stage(tmp_path: Path) -> None:
    write_history(HISTORY, tmp_path)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_accuracy"] for row in rows] == ["0.5", "0.625", "0.75", "0.875"]
    assert list(rows[0])[:2] == ["stage", "epoch"]
    points = read_points(tmp_path / "logs" / "tensorboard" / "tune")
    assert points == [(1, "val_accuracy"), (2, "val_accuracy")]


def test_a_penalty_is_not_an_epoch_but_a_step_of_a_curve(tmp_path: Path) -> None:
    write_history(HISTORY, tmp_path)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["", "", "1", "2"]
    assert [row["penalty"] for row in rows] == ["10.0", "1.0", "", ""]
    points = read_points(tmp_path / "logs" / "tensorboard" / "probe")
    assert points == [(1, "penalty"), (1, "val_accuracy"), (2, "penalty"), (2, "val_accuracy")]
