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
