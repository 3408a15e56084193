"""What a fit of the suite leaves behind: one file for each task, seed and choice."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from job.files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One choice, fitted on the draw that one seed makes of a task.

    Attributes:
        val: logits of the validation images, float32 [n, classes].
        val_labels: int64 [n].
        test: logits of the test images, float32 [m, classes].
        test_labels: int64 [m].
        seconds: of building and fitting, without the prediction. Of several choices in one
            process, the first one alone computes the features.
        cpu_seconds: the same on all cores, which other work on the machine does not lengthen.
        epochs: that were trained by steps.
        of_epochs: the most that the settings allow.
        work: images times layers. An epoch costs train x (frozen + 3 x freed) + val x all of them,
            and the solved head before it costs (train + val) x all.
        plain_work: the work of a run of `all` that trains all its epochs.
        layers: steps of the backbone's graph.
        train: training images.
        history: one row for each epoch, or penalty of a solved head, as JSON.
        refinements: what was tried on the trained weights, as JSON, each with the test accuracy
            after it. The first row is the best epoch itself.
    """

    val: np.ndarray
    val_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    seconds: float
    cpu_seconds: float
    epochs: int
    of_epochs: int
    work: float
    plain_work: float
    layers: int
    train: int
    history: str
    refinements: str

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as file:
            np.savez(file, **asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The inverse of `write`."""
        with np.load(path, allow_pickle=False) as file:
            values = {}
            for field in fields(cls):
                array = file[field.name]
                # Numbers and texts are arrays without a dimension.
                values[field.name] = array if array.ndim else array.item()
        return cls(**values)


# By task, seed and choice.
Table = dict[str, dict[int, dict[str, Outcome]]]


def locate_outcome(folder: Path, task: str, seed: int, choice: str) -> Path:
    """The file of a fit below the suite's folder."""
    return folder / task / str(seed) / f"{choice}.npz"


def read_table(folder: Path, choices: Collection[str]) -> Table:
    """Read the tasks and seeds of which each of the choices is there.

    Args:
        folder: the suite's.
        choices: their names.
    """
    table: Table = {}
    for place in sorted(folder.glob("*/*")):
        paths = {choice: place / f"{choice}.npz" for choice in choices}
        if all(path.exists() for path in paths.values()):
            row = {choice: Outcome.read(path) for choice, path in paths.items()}
            table.setdefault(place.parent.name, {})[int(place.name)] = row
    return table


def count_work(layers: int, frozen: int, images: tuple[int, int], epochs: int) -> float:
    """Count images times layers of a solved head and the epochs after it.

    Args:
        layers: of the whole backbone.
        frozen: those that stay frozen, through which each epoch runs only once.
        images: numbers of training and validation images.
        epochs: trained by steps.
    """
    train, val = images
    # A gradient costs twice what the forward pass costs.
    epoch = train * (frozen + 3 * (layers - frozen)) + val * layers
    return float((train + val) * layers + epochs * epoch)
