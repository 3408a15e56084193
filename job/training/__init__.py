"""Training: the head first on the frozen backbone, then what the plan frees.

`stages` runs a plan: a head that can be solved is solved by `head`, everything else is trained by
`loop` in steps, and `refinement` improves the result. `network` divides the classifier for a stage,
`inputs` and `stage_features` load what enters it. `memory` takes batches in parts where a device is
too small for them. `session` knows how far the training is.
"""

from job.training.context import TrainingContext
from job.training.head import SolvedHead, solve_head
from job.training.history import write_history
from job.training.inputs import imitate_inputs, load_inputs
from job.training.loop import StageTrainer
from job.training.network import divide_classifier
from job.training.prediction import (
    compute_feature_maps,
    load_feature_maps,
    predict,
    predict_frozen,
)
from job.training.progress import Rank, StageProgress, TrainingProgress
from job.training.refinement import refine
from job.training.session import TrainingSession, assign_arrays, read_arrays
from job.training.stage_features import (
    StageFeatures,
    apply_head,
    freeze_stages,
    load_stage_features,
    make_sample,
)
from job.training.stages import Fitted, conclude, fit, solve_plain_head

__all__ = [
    "Fitted",
    "Rank",
    "SolvedHead",
    "StageFeatures",
    "StageProgress",
    "StageTrainer",
    "TrainingContext",
    "TrainingProgress",
    "TrainingSession",
    "apply_head",
    "assign_arrays",
    "compute_feature_maps",
    "conclude",
    "divide_classifier",
    "fit",
    "freeze_stages",
    "imitate_inputs",
    "load_feature_maps",
    "load_inputs",
    "load_stage_features",
    "make_sample",
    "predict",
    "predict_frozen",
    "read_arrays",
    "refine",
    "solve_head",
    "solve_plain_head",
    "write_history",
]
