"""Training: the head first on the frozen backbone, then what the plan frees.

`stages` runs the plan: a head that can be solved is solved by `probe`, everything else is trained
by `loop` in steps. `network` divides the classifier for a stage, `inputs` loads what enters it.
"""

from job.training.context import TrainingContext
from job.training.history import write_history
from job.training.prediction import compute_feature_maps, predict
from job.training.stages import Fitted, fit

__all__ = [
    "Fitted",
    "TrainingContext",
    "compute_feature_maps",
    "fit",
    "predict",
    "write_history",
]
