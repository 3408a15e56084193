"""Linear heads on features: solved, not trained. With them the penalty and the folds."""

from job.linear.choices import (
    COARSE_PENALTIES,
    FactorChoice,
    PenaltyChoice,
    PenaltyRow,
    choose_factors,
    choose_penalty,
    choose_penalty_by_folds,
    find_best,
    follow_path,
    out_of_fold,
)
from job.linear.probe import PENALTIES, Probe
from job.linear.quick import Head, solve, solve_path
from job.linear.rotated_trial import RotatedTrial, rotate_trial
from job.linear.sample import FeatureGroup, Sample, join, spread
from job.linear.trial import (
    FOLDS,
    LEAST_JUDGED,
    Round,
    Trial,
    assign_folds,
    set_folds,
    set_trial,
)

__all__ = [
    "COARSE_PENALTIES",
    "FOLDS",
    "LEAST_JUDGED",
    "PENALTIES",
    "FactorChoice",
    "FeatureGroup",
    "Head",
    "PenaltyChoice",
    "PenaltyRow",
    "Probe",
    "RotatedTrial",
    "Round",
    "Sample",
    "Trial",
    "assign_folds",
    "choose_factors",
    "choose_penalty",
    "choose_penalty_by_folds",
    "find_best",
    "follow_path",
    "join",
    "out_of_fold",
    "rotate_trial",
    "set_folds",
    "set_trial",
    "solve",
    "solve_path",
    "spread",
]
