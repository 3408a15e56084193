"""Measure a model on held-out images and write JSON, an HTML page and a model card about it."""

from job.evaluation.calibration import compute_calibrated_loss, fit_temperature
from job.evaluation.class_maps import compute_class_maps
from job.evaluation.context import ReportContext
from job.evaluation.report import Mistake, Report, judge, judge_probabilities
from job.evaluation.scores import PairedComparison, compare_paired, compute_scores
from job.evaluation.writing import write

__all__ = [
    "Mistake",
    "PairedComparison",
    "Report",
    "ReportContext",
    "compare_paired",
    "compute_calibrated_loss",
    "compute_class_maps",
    "compute_scores",
    "fit_temperature",
    "judge",
    "judge_probabilities",
    "write",
]
