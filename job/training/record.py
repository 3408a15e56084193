"""What training leaves for people: history.csv, and the same curves for TensorBoard."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

# What `tf.summary.scalar` writes, which itself needs the whole of TensorBoard to be installed.
SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class="DATA_CLASS_SCALAR",
)


def write(history: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `history.csv` and `logs/tensorboard` into a folder.

    Args:
        history: one row an epoch: stage, epoch and scores.
        folder: of the release.
    """
    columns = list(dict.fromkeys(name for row in history for name in row))
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    for stage in dict.fromkeys(row["stage"] for row in history):
        _events(
            [row for row in history if row["stage"] == stage],
            folder / "logs" / "tensorboard" / stage,
        )


def _events(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    with tf.summary.create_file_writer(str(folder)).as_default():
        for row in rows:
            for name in sorted(row.keys() - {"stage", "epoch"}):
                tf.summary.write(name, tf.constant(row[name], tf.float32), row["epoch"], SCALAR)
