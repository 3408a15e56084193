"""Measure a model on held-out images and write JSON, an HTML page and a model card about it."""

from job.evaluation.calibration import fit_temperature
from job.evaluation.report import (
    Mistake,
    Report,
    ReportContext,
    judge,
    judge_probabilities,
    write,
)
from job.evaluation.scores import PairedComparison, compare_paired, compute_scores

__all__ = [
    "Mistake",
    "PairedComparison",
    "Report",
    "ReportContext",
    "compare_paired",
    "compute_scores",
    "fit_temperature",
    "judge",
    "judge_probabilities",
    "write",
]
