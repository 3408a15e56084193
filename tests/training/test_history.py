"""What training leaves for people."""

import csv
from pathlib import Path

from tensorflow.python.summary.summary_iterator import summary_iterator

from job.training import write_history

HISTORY = [
    {"stage": "probe", "epoch": 1, "penalty": 10.0, "val_accuracy": 0.5},
    {"stage": "tune", "epoch": 1, "val_accuracy": 0.75},
    {"stage": "tune", "epoch": 2, "val_accuracy": 0.875},
]


def test_the_history_is_a_table_and_curves_by_stage(tmp_path: Path) -> None:
    write_history(HISTORY, tmp_path)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_accuracy"] for row in rows] == ["0.5", "0.75", "0.875"]
    assert [row["penalty"] for row in rows] == ["10.0", "", ""]
    (events,) = (tmp_path / "logs" / "tensorboard" / "tune").iterdir()
    points = [
        (event.step, value.tag)
        for event in summary_iterator(str(events))
        for value in event.summary.value
    ]
    assert points == [(1, "val_accuracy"), (2, "val_accuracy")]
