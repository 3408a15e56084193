"""What training leaves for people: history.csv, the same curves for TensorBoard, and events."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from job.telemetry import EpochEnded, HeadSolved, HistoryRestored

# What a row has beside its scores.
NO_SCORES = ("stage", "epoch", "penalty")
# What `tf.summary.scalar` writes, which itself needs the whole of TensorBoard to be installed.
SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class="DATA_CLASS_SCALAR",
)


def restore_history(history: Sequence[Mapping[str, Any]], epochs: int) -> HistoryRestored:
    """The event that tells the history of a checkpoint to whoever watches the run.

    Args:
        history: as in `write_history`.
        epochs: planned at most in a stage.
    """
    ended: list[EpochEnded] = []
    solved: list[HeadSolved] = []
    for row in history:
        scores = {name: value for name, value in row.items() if name not in NO_SCORES}
        if row["epoch"] is None:
            judged = {name: value for name, value in scores.items() if name.startswith("val_")}
            solved.append(HeadSolved(row["stage"], row["penalty"], judged))
        else:
            ended.append(EpochEnded(row["stage"], row["epoch"], epochs, scores))

    def rank(head: HeadSolved) -> tuple[float, float]:
        """As the head was chosen: the score, and among equal scores the lower loss."""
        loss = head.scores["val_loss"]
        return max(value for name, value in head.scores.items() if name != "val_loss"), -loss

    # Of equals this is the first one.
    return HistoryRestored(tuple(ended), max(solved, key=rank, default=None))


def write_history(history: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `history.csv` and `logs/tensorboard` into a folder.

    Args:
        history: one row per epoch: stage, epoch and scores. A row of a solved head has a penalty,
            and None in the place of the epoch.
        folder: of the release.
    """
    # Dictionaries instead of sets: they keep the order in which names first occur.
    columns: dict[str, None] = {}
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for row in history:
        columns.update(dict.fromkeys(row))
        rows = stages.setdefault(row["stage"], [])
        rows.append(row)

    with (folder / "history.csv").open("w", newline="") as file:
        # The file is the same on every system.
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)

    # A folder per stage: TensorBoard draws each as a curve of its own, from its epoch 1 on. The
    # step of a solved head is the place of its penalty, which is a curve too: TensorBoard has no
    # other axis, and a release has the same files whichever way its head was found.
    for stage, rows in stages.items():
        # Without the spaces in the name of a candidate.
        curves = folder / "logs" / "tensorboard" / stage.replace(",", "").replace(" ", "-")
        summaries = tf.summary.create_file_writer(str(curves))
        with summaries.as_default():
            for place, row in enumerate(rows, 1):
                step = row["epoch"] or place
                for name in sorted(row.keys() - {"stage", "epoch"}):
                    value = tf.constant(row[name], tf.float32)
                    tf.summary.write(name, value, step, SCALAR)
