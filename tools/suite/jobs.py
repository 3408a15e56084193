"""What one process of the suite is asked to do. TensorFlow is imported in that process alone."""

import os
from dataclasses import dataclass
from pathlib import Path

from job.settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob:
    """Some choices on one draw of one task.

    Attributes:
        task: its name.
        seed: of the draw, of the weights of the head and of the order of the images.
        choices: their names.
        folder: where the outcomes go.
        training: the settings of the training.
        divisor: of the numbers of images; 1 takes all of them.
        threads: of TensorFlow.
        backbone: the name of the network, which gets its ImageNet weights.
        keeps_weights: also write the trained arrays beside each outcome.
    """

    task: str
    seed: int
    choices: tuple[str, ...]
    folder: Path
    training: TrainingSettings
    divisor: int
    threads: int
    backbone: str
    keeps_weights: bool


def run_job(job: FitJob) -> None:
    """Draw the task, fit each choice and write its outcome."""
    # Before TensorFlow is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tools.suite.fitting import fit_choices

    fit_choices(job)
